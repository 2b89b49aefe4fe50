"""How a sendfile over a transport ends before the file does, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from noria.core import catalog, codes
from noria.limits import SENDFILE_BYTES_PER_ATTEMPT_MAX
from tests.loops import (
    PATIENCE_SECONDS,
    Recorder,
    Wire,
    end,
    reset,
    run,
    tells_resets,
    turns,
    until,
    wire,
)
from tests.sendfile import DATA, SIZE, Foreign, by_the_kernel, choose, receive_while, start

Loop = asyncio.AbstractEventLoop


@tells_resets
def test_a_peer_that_resets_ends_it(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire(tcp=True, small=True)
        sending = start(both, one.transport, file)
        await one.take(1000)
        reset(one.peer)
        with pytest.raises(ConnectionError):
            await sending
        assert 0 < file.tell() < SIZE
        await one.protocol.ended()

    run(both, main())


@tells_resets
def test_a_peer_that_resets_ends_pieces_too(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire(tcp=True, small=True)
        sending = start(loop, Foreign(one.transport), file)
        await one.take(1000)
        reset(one.peer)
        with pytest.raises(ConnectionError):
            await sending
        assert 0 < file.tell() < SIZE
        await one.protocol.ended()
        assert one.protocol.told.count("lost") == 1

    run(loop, main())


@tells_resets
def test_a_reset_while_older_data_waits(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire(tcp=True, small=True)
        one.transport.write(b"<" * 10_000_000)
        sending = start(loop, one.transport, file)
        await turns(2)
        reset(one.peer)
        with pytest.raises(ConnectionError):
            await sending
        assert file.tell() == 0
        await one.protocol.ended()

    run(loop, main())


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_breaks_it_off(loop: Loop, file: Any, kind: str, how: str) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, choose(one.transport, kind), file)
        await one.take(1000)
        assert not sending.done()
        getattr(one.transport, how)()
        taking = loop.create_task(one.take_all())
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, PATIENCE_SECONDS)
        assert await one.protocol.ended() is None
        assert 1000 <= file.tell() < SIZE
        got = await taking
        assert got == DATA[1000 : 1000 + len(got)]
        one.peer.close()

    run(loop, main())


@by_the_kernel
@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_while_older_data_waits(loop: Loop, file: Any, how: str) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(b"<" * 3_000_000)
        sending = start(loop, one.transport, file)
        await turns(1)
        getattr(one.transport, how)()
        taking = loop.create_task(one.take_all())
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(sending, PATIENCE_SECONDS)
        assert await one.protocol.ended() is None
        got = await taking
        assert set(got) <= {ord("<")}
        assert (len(got) == 3_000_000) is (how == "close")
        assert file.tell() == 0
        one.peer.close()

    run(loop, main())


def test_cancelling_leaves_a_transport_that_works(loop: Loop, file: Any, kind: str) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, choose(one.transport, kind), file)
        got = await one.take(1000)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        sent = file.tell()
        assert 1000 <= sent < SIZE
        got += await one.take(sent - 1000)
        assert got == DATA[:sent]
        assert one.transport.is_reading()
        one.transport.write(b"and on")
        assert await one.take(6) == b"and on"
        one.peer.send(b"both ways")
        await until(lambda: one.protocol.data)
        await end(one)

    run(loop, main())


@by_the_kernel
def test_cancelling_while_older_data_waits(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(b"<" * 3_000_000)
        sending = start(loop, one.transport, file)
        await turns(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert file.tell() == 0
        assert set(await one.take(3_000_000)) == {ord("<")}
        await end(one)

    run(loop, main())


@by_the_kernel
def test_cancelling_too_late_counts_what_was_sent(loop: Loop, file: Any) -> None:
    """A piece and a cancellation come out of one poll, the cancellation first."""

    async def main() -> None:
        other = await wire()
        one = await wire()
        sending = start(loop, one.transport, file)
        await turns(2)
        other.protocol.data_received = lambda data: sending.cancel()
        other.peer.send(b"x")
        got = bytearray(await one.take(SIZE // 8))
        with pytest.raises(asyncio.CancelledError):
            await sending
        sent = file.tell()
        one.transport.close()
        got += await one.take_all()
        assert len(got) == sent
        assert got == DATA[:sent]
        await end(other)
        one.peer.close()

    run(loop, main())


@by_the_kernel
def test_d1_nothing_of_the_file_is_left_open(loop: Loop, file: Any) -> None:
    numbers = Path("/proc/self/fd")
    if not numbers.is_dir():
        pytest.skip("this system does not list open files")

    async def main() -> None:
        one = await wire()
        sending = start(loop, one.transport, file)
        await receive_while(one, sending, SIZE)
        await end(one)

    run(loop, asyncio.sleep(0))
    before = len(list(numbers.iterdir()))
    run(loop, main())
    assert len(list(numbers.iterdir())) == before


@by_the_kernel
def test_a_failure_before_the_first_byte_is_for_the_fallback(
    loop: Loop, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = catalog.CATALOG[codes.SEND_FILE]
    failing = row._replace(attempt=lambda op: -errno.EINVAL)
    monkeypatch.setitem(catalog.CATALOG, codes.SEND_FILE, failing)

    async def main() -> None:
        one = await wire()
        with pytest.raises(asyncio.SendfileNotAvailableError, match="sendfile call failed"):
            await loop.sendfile(one.transport, file, fallback=False)
        assert file.tell() == 0
        sending = start(loop, one.transport, file)
        assert await receive_while(one, sending, SIZE) == DATA
        await end(one)

    run(loop, main())


@by_the_kernel
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTCONN, errno.EPIPE])
def test_a_failure_after_the_first_byte_is_told(
    loop: Loop, file: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    row = catalog.CATALOG[codes.SEND_FILE]

    def attempt(op: Any) -> int:
        return row.attempt(op) if op.offset == 0 else -number

    monkeypatch.setitem(catalog.CATALOG, codes.SEND_FILE, row._replace(attempt=attempt))

    async def main() -> None:
        one = await wire()
        with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
            await loop.sendfile(one.transport, file)
        if number == errno.ENOTCONN:
            assert type(caught.value) is ConnectionError
        else:
            assert caught.value.errno == number
        assert file.tell() > 0
        await end(one)

    run(loop, main())


def test_others_have_their_turn(loop: Loop, file: Any) -> None:
    """A peer that takes everything at once does not keep the loop from other work."""

    class Count(Recorder):
        calls = 0

    async def main() -> None:
        left, right = socket.socketpair()
        for sock in (left, right):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
        right.setblocking(False)
        transport, protocol = await loop.create_connection(Count, sock=left)
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1
            ticking[0] = loop.call_soon(tick)

        ticking = [loop.call_soon(tick)]
        one = Wire(transport, protocol, right)
        sending = start(loop, transport, file)
        await receive_while(one, sending, SIZE)
        ticking[0].cancel()
        assert count >= SIZE // SENDFILE_BYTES_PER_ATTEMPT_MAX
        await end(one)

    run(loop, main())
