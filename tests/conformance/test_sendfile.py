"""sendfile over transports, held against asyncio where asyncio says what happens."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import tempfile
from asyncio import constants
from typing import Any

import pytest

from noria.limits import SENDFILE_BYTES_PER_ATTEMPT_MAX
from tests.loops import end, run, turns, until, wire
from tests.sendfile import DATA, SIZE, Foreign, by_the_kernel, choose, receive_while, start

Loop = asyncio.AbstractEventLoop


# -- what is sent ---------------------------------------------------------------------------


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_whole_file(both: Loop, file: Any, tcp: bool) -> None:
    async def main() -> None:
        one = await wire(tcp=tcp)
        sending = start(both, one.transport, file)
        assert await receive_while(one, sending, SIZE) == DATA
        assert sending.result() == SIZE
        assert file.tell() == SIZE
        await end(one)

    run(both, main())


def test_a_whole_file_in_pieces(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, Foreign(one.transport), file)
        assert await receive_while(one, sending, SIZE) == DATA
        assert sending.result() == SIZE
        assert file.tell() == SIZE
        assert one.transport.get_protocol() is one.protocol
        await end(one)

    run(loop, main())


@pytest.mark.parametrize(
    ("offset", "count", "sent"),
    [
        (0, 1, 1),
        (0, SIZE, SIZE),
        (1, None, SIZE - 1),
        (1000, 2000, 2000),
        (SIZE - 10, 100, 10),
        (SIZE - 10, 10, 10),
        (SIZE - 10, None, 10),
        (SIZE, None, 0),
        (SIZE, 5, 0),
        (SIZE + 100, None, 0),
        (77, SENDFILE_BYTES_PER_ATTEMPT_MAX, SENDFILE_BYTES_PER_ATTEMPT_MAX),
        (77, 2 * SENDFILE_BYTES_PER_ATTEMPT_MAX + 1, 2 * SENDFILE_BYTES_PER_ATTEMPT_MAX + 1),
    ],
)
def test_parts_of_a_file(
    loop: Loop, file: Any, kind: str, offset: int, count: int | None, sent: int
) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, choose(one.transport, kind), file, offset, count)
        assert await receive_while(one, sending, sent) == DATA[offset : offset + sent]
        assert sending.result() == sent
        if sent:
            assert file.tell() == offset + sent
        one.transport.close()
        assert await one.take_all() == b""
        await end(one)

    run(loop, main())


def test_an_empty_file(both: Loop) -> None:
    async def main() -> None:
        one = await wire()
        with tempfile.TemporaryFile() as empty:
            assert await both.sendfile(one.transport, empty) == 0
            assert empty.tell() == 0
        await end(one)

    run(both, main())


def test_a_file_that_grows_is_sent_to_its_end(loop: Loop, kind: str) -> None:
    async def main() -> None:
        one = await wire()
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(DATA)
            file.seek(0)
            sending = start(loop, choose(one.transport, kind), file)
            got = await one.take(1000)
            assert not sending.done()
            os.pwrite(file.fileno(), b"more of it", SIZE)
            got += await one.take(SIZE + 10 - 1000)
            assert await sending == SIZE + 10
            assert got == DATA + b"more of it"
        await end(one)

    if not hasattr(os, "pwrite"):
        pytest.skip("this system has no pwrite")
    run(loop, main())


def test_a_file_that_shrinks_ends_the_transfer(loop: Loop, kind: str) -> None:
    async def main() -> None:
        one = await wire()
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(DATA)
            file.seek(0)
            sending = start(loop, choose(one.transport, kind), file, 0, SIZE)
            await one.take(1000)
            assert not sending.done()
            file.truncate(SIZE // 2)
            taker = loop.create_task(one.take(SIZE // 2 - 1000))
            assert await sending <= SIZE // 2
            taker.cancel()
            assert file.tell() == sending.result()
        await end(one)

    run(loop, main())


def test_a_file_without_a_descriptor(both: Loop) -> None:
    async def main() -> None:
        one = await wire()
        file = io.BytesIO(DATA)
        sending = start(both, one.transport, file, 10, 200_000)
        assert await receive_while(one, sending, 200_000) == DATA[10:200_010]
        assert file.tell() == 200_010
        with pytest.raises(asyncio.SendfileNotAvailableError, match="not a regular file"):
            await both.sendfile(one.transport, file, fallback=False)
        await end(one)

    run(both, main())


@by_the_kernel
def test_a_pipe_is_read_and_written(both: Loop) -> None:
    """Its size is zero, so without a count there is nothing to send, in asyncio as well."""

    async def main() -> None:
        one = await wire()
        reader, writer = os.pipe()
        os.write(writer, b"through a pipe")
        os.close(writer)
        with io.FileIO(reader) as file:
            assert await both.sendfile(one.transport, file) == 0
            with pytest.raises(asyncio.SendfileNotAvailableError, match=r"os\.sendfile call"):
                await both.sendfile(one.transport, file, 0, 9, fallback=False)
            with pytest.raises(OSError) as caught:  # noqa: PT011 - in the end it cannot seek
                await both.sendfile(one.transport, file, 0, 9)
            assert caught.value.errno == errno.ESPIPE
        assert await one.take(9) == b"through a"
        await end(one)

    run(both, main())


@by_the_kernel
def test_a_reader_that_has_read_ahead_keeps_its_place(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        assert file.read(10) == DATA[:10]
        sending = start(loop, one.transport, file, 10, 1000)
        await receive_while(one, sending, 1000)
        assert file.tell() == 1010
        assert file.read(20) == DATA[1010:1030]
        await end(one)

    run(loop, main())


@by_the_kernel
def test_a_file_that_is_closed_meanwhile_is_sent_all_the_same(loop: Loop) -> None:
    """And never what gets its number next."""

    async def main() -> None:
        one = await wire()
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the test closes it early
        file.write(DATA)
        file.flush()
        number = file.fileno()
        sending = start(loop, one.transport, file)
        got = await one.take(100)
        file.close()
        with tempfile.TemporaryFile() as other:
            assert other.fileno() == number, "the lowest number that is free"
            other.write(b"\xff" * SIZE)
            other.flush()
            got += await receive_while(one, sending, SIZE - 100)
        assert got == DATA
        assert await sending == SIZE
        await end(one)

    run(loop, main())


# -- arguments ------------------------------------------------------------------------------


@by_the_kernel
@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((0, 0), ValueError, r"count must be a positive integer \(got 0\)"),
        ((0, -1), ValueError, r"count must be a positive integer \(got -1\)"),
        ((0, "1"), TypeError, r"count must be a positive integer \(got '1'\)"),
        ((0, 1.5), TypeError, r"count must be a positive integer \(got 1.5\)"),
        ((-1, None), ValueError, r"offset must be a non-negative integer \(got -1\)"),
        (("1", None), TypeError, r"offset must be a non-negative integer \(got '1'\)"),
        ((None, None), TypeError, r"offset must be a non-negative integer \(got None\)"),
    ],
)
def test_arguments_are_checked(
    both: Loop, file: Any, arguments: Any, exception: type[Exception], message: str
) -> None:
    async def main() -> None:
        one = await wire()
        with pytest.raises(exception, match=message):
            await both.sendfile(one.transport, file, *arguments)
        with pytest.raises(exception, match=message):
            await both.sendfile(one.transport, file, *arguments, fallback=False)
        one.transport.write(b"goes on")
        assert await one.take(7) == b"goes on"
        assert one.transport.is_reading()
        assert file.tell() == 0
        await end(one)

    run(both, main())


@by_the_kernel
def test_a_text_file_is_refused(both: Loop) -> None:
    async def main() -> None:
        one = await wire()
        with (
            tempfile.TemporaryFile("w+") as file,
            pytest.raises(ValueError, match="file should be opened in binary mode"),
        ):
            await both.sendfile(one.transport, file)  # type: ignore[arg-type]
        await end(one)

    run(both, main())


def test_a_closing_transport_is_refused(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.close()
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await both.sendfile(one.transport, file)
        await one.protocol.ended()
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await both.sendfile(one.transport, file)
        one.peer.close()

    run(both, main())


@pytest.mark.parametrize("fallback", [False, True])
def test_a_transport_that_takes_no_files_is_refused(both: Loop, file: Any, fallback: bool) -> None:
    class Bare:
        def is_closing(self) -> bool:
            return False

    async def main() -> None:
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await both.sendfile(Bare(), file, fallback=fallback)  # type: ignore[arg-type]

    run(both, main())


def test_without_fallback_such_a_transport_is_refused(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        with pytest.raises(RuntimeError, match="fallback is disabled and native sendfile is not"):
            await both.sendfile(
                Foreign(one.transport),  # type: ignore[arg-type]
                file,
                fallback=False,
            )
        await end(one)

    run(both, main())


def test_a_transport_without_flow_control_is_refused(both: Loop, file: Any) -> None:
    class Bare:
        _sendfile_compatible = constants._SendfileMode.FALLBACK

        def is_closing(self) -> bool:
            return False

    async def main() -> None:
        with pytest.raises(TypeError, match="transport should be _FlowControlMixin instance"):
            await both.sendfile(Bare(), file)  # type: ignore[arg-type]

    run(both, main())


@by_the_kernel
def test_after_write_eof_it_is_refused(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.protocol.keep_open = True
        one.transport.write_eof()
        with pytest.raises(RuntimeError):
            await both.sendfile(one.transport, file)
        assert await one.take_all() == b""
        await end(one)

    run(both, main())


# -- among other data -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, 5, 1000, 3_000_000])
def test_what_was_written_before_leaves_first(both: Loop, file: Any, before: int) -> None:
    async def main() -> None:
        one = await wire()
        first, last = b"<" * before, b">" * 1000
        one.transport.write(first)
        sending = start(both, one.transport, file)
        got = await receive_while(one, sending, before + SIZE)
        one.transport.write(last)
        assert got == first + DATA
        assert await one.take(1000) == last
        await end(one)

    run(both, main())


def test_order_is_kept_in_pieces_too(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(b"<" * 3_000_000)
        sending = start(loop, Foreign(one.transport), file)
        got = await receive_while(one, sending, 3_000_000 + SIZE)
        one.transport.write(b">" * 1000)
        assert got == b"<" * 3_000_000 + DATA
        assert await one.take(1000) == b">" * 1000
        await end(one)

    run(loop, main())


@by_the_kernel
def test_writes_are_refused_meanwhile(both: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(both, one.transport, file)
        await turns(1)
        for data in (b"x", b""):
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                one.transport.write(data)
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            one.transport.writelines([b"x"])
        with pytest.raises(TypeError, match="bytes-like"):
            one.transport.write("x")
        assert await receive_while(one, sending, SIZE) == DATA
        one.transport.write(b"now")
        assert await one.take(3) == b"now"
        await end(one)

    run(both, main())


@by_the_kernel
def test_a_second_file_is_refused_meanwhile(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, one.transport, file)
        await turns(1)
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            await loop.sendfile(one.transport, file)
        with pytest.raises(RuntimeError, match="unable to write"):
            one.transport.write(b"the first goes on")
        assert await receive_while(one, sending, SIZE) == DATA
        await end(one)

    run(loop, main())


@by_the_kernel
def test_write_eof_waits_for_the_file(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, one.transport, file)
        await turns(1)
        one.transport.write_eof()
        taking = loop.create_task(one.take_all())
        assert await sending == SIZE
        assert await taking == DATA
        one.peer.send(b"still here")
        await until(lambda: one.protocol.data)
        assert one.protocol.data == b"still here"
        await end(one)

    run(loop, main())


def test_reading_is_paused_meanwhile(loop: Loop, file: Any, kind: str) -> None:
    async def main() -> None:
        one = await wire()
        sending = start(loop, choose(one.transport, kind), file)
        await turns(2)
        one.peer.send(b"meanwhile")
        await turns(3)
        assert one.protocol.data == b""
        assert not one.transport.is_reading()
        await receive_while(one, sending, SIZE)
        assert one.transport.is_reading()
        await until(lambda: one.protocol.data)
        assert one.protocol.data == b"meanwhile"
        await end(one)

    run(loop, main())


def test_reading_that_was_paused_stays_so(loop: Loop, file: Any, kind: str) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        sending = start(loop, choose(one.transport, kind), file)
        await receive_while(one, sending, SIZE)
        assert not one.transport.is_reading()
        one.peer.send(b"later")
        await turns(2)
        assert one.protocol.data == b""
        one.transport.resume_reading()
        await until(lambda: one.protocol.data)
        await end(one)

    run(loop, main())


def test_t3_pauses_and_resumes_alternate(loop: Loop, file: Any, kind: str) -> None:
    """The protocol is paused when the file begins, and hears of it when there is room again."""

    async def main() -> None:
        one = await wire()
        one.transport.write(b"<" * 3_000_000)
        assert one.protocol.told == ["made", "pause"]
        sending = start(loop, choose(one.transport, kind), file)
        await receive_while(one, sending, 3_000_000 + SIZE)
        await until(lambda: "resume" in one.protocol.told)
        await turns(2)
        told = one.protocol.told[1:]
        assert told == ["pause", "resume"] * (len(told) // 2)
        await end(one)

    run(loop, main())


def test_t3_a_transport_that_is_full_in_the_end_says_so(loop: Loop, file: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.set_write_buffer_limits(high=10 * SIZE, low=9 * SIZE)
        assert await loop.sendfile(Foreign(one.transport), file) == SIZE  # type: ignore[arg-type]
        assert one.protocol.told == ["made"]
        one.transport.set_write_buffer_limits(high=1000)
        assert one.protocol.told == ["made", "pause"]
        with tempfile.TemporaryFile() as short:
            short.write(b"short")
            short.seek(0)
            sending = start(loop, Foreign(one.transport), short)
            assert await receive_while(one, sending, SIZE + 5) == DATA + b"short"
        await until(lambda: "resume" in one.protocol.told)
        assert one.protocol.told == ["made", "pause", "resume"]
        await end(one)

    run(loop, main())
