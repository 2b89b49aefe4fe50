"""T3: what the kernel does not take waits, in order, and the protocol is paused meanwhile."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.limits import DATAGRAM_HEADER_BYTES
from tests.datagrams import (
    HOST,
    Listener,
    arrivals,
    drain,
    end,
    endpoint,
    fill,
    name_of,
    plain,
    unix_pair,
)
from tests.loops import Reports, is_open, run, turns, until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.posix

Loop = asyncio.AbstractEventLoop
NEW = sys.version_info >= (3, 13)
HEADER = DATAGRAM_HEADER_BYTES if NEW else 0


class Full:
    """An endpoint whose receiver's queue is full, and that receiver."""

    def __init__(self, protocol: Any, peer: socket.socket, filled: int) -> None:
        self.protocol = protocol
        self.transport = protocol.transport
        self.peer = peer
        self.filled = filled

    def take(self) -> list[bytes]:
        """What the receiver has got, but for what had filled its queue."""
        return [data for data in drain(self.peer) if data != b"full"]

    async def take_all(self, count: int) -> list[bytes]:
        """Take until that many have arrived."""
        found = await arrivals(self.peer, self.filled + count)
        self.filled = 0
        return [data for data in found if data != b"full"]

    async def close(self) -> None:
        """Take both down."""
        await end(self.protocol)
        self.peer.close()


async def full(protocol: Any = None) -> Full:
    """Make one."""
    left, right = unix_pair()
    filled = fill(left)
    made = await endpoint(protocol, sock=left)
    # asyncio asks for an address where the peer has no name
    if not isinstance(asyncio.get_running_loop(), noria.Loop):
        made.transport._extra["peername"] = "peer"
    return Full(made, right, filled)


def size_of(one: Full) -> int:
    size: int = one.transport.get_write_buffer_size()
    return size


def numbers(count: int) -> list[bytes]:
    return [b"%04d" % number for number in range(count)]


@pytest.mark.parametrize("count", [1, 5, 40, 500])
def test_what_waits_leaves_in_order(both: Loop, count: int) -> None:
    async def main() -> None:
        one = await full()
        for data in numbers(count):
            one.transport.sendto(data)
        assert size_of(one) == count * (4 + HEADER)
        assert "write=<polling" in repr(one.transport)
        assert await one.take_all(count) == numbers(count)
        await turns(2)
        if isinstance(both, noria.Loop):  # some versions of asyncio never uncount the headers
            assert size_of(one) == 0
        assert "write=<idle" in repr(one.transport)
        await one.close()

    run(both, main())


def test_t3_pausing_and_resuming_alternate(both: Loop) -> None:
    async def main() -> None:
        one = await full()
        one.transport.set_write_buffer_limits(high=100, low=50)
        assert one.transport.get_write_buffer_limits() == (50, 100)
        waiting = 0
        while one.protocol.told[-1] != "pause":
            one.transport.sendto(b"0123456789")
            waiting += 1
        assert size_of(one) == waiting * (10 + HEADER)
        assert 100 < size_of(one) <= 100 + 10 + HEADER
        one.transport.sendto(b"0123456789")
        waiting += 1
        await turns(2)
        assert one.protocol.told == ["made", "pause"]
        await one.take_all(waiting)
        if isinstance(both, noria.Loop):
            await until(lambda: one.protocol.told == ["made", "pause", "resume"])
        one.transport.sendto(b"again")
        assert (await one.take_all(1))[-1] == b"again"
        await one.close()

    run(both, main())


def test_limits(both: Loop) -> None:
    async def main() -> None:
        made = await endpoint()
        assert made.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        made.transport.set_write_buffer_limits(low=10)
        assert made.transport.get_write_buffer_limits() == (10, 40)
        with pytest.raises(ValueError, match="must be >= low"):
            made.transport.set_write_buffer_limits(high=1, low=2)
        await end(made)

    run(both, main())


def test_t3_a_batch_that_does_not_fit(loop: Loop) -> None:
    """What is sent within a batch is bounded, and what the kernel does not take pauses."""

    class Many(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            for number in numbers(100):
                self.transport.sendto(number)
            assert self.transport.get_write_buffer_size() <= 200 * (4 + HEADER)

    async def main() -> None:
        one = await full(Many())
        one.transport.set_write_buffer_limits(high=100)
        one.peer.send(b"go")
        one.peer.send(b"go")
        await until(lambda: "pause" in one.protocol.told)
        assert await one.take_all(200) == numbers(100) * 2
        await until(lambda: one.protocol.told[-1] == "resume")
        told = one.protocol.told
        assert told == ["made"] + ["pause", "resume"] * (len(told) // 2)
        await one.close()

    run(loop, main())


def test_a_mutable_buffer_that_waits_may_be_changed(both: Loop) -> None:
    async def main() -> None:
        one = await full()
        for kind in (bytearray, memoryview):
            memory = bytearray(b"before")
            one.transport.sendto(memory if kind is bytearray else memoryview(memory))
            memory[:] = b"behind"
        assert await one.take_all(2) == [b"before"] * 2
        await one.close()

    run(both, main())


@pytest.mark.parametrize("count", [1, 30])
def test_t5_close_sends_what_waits(both: Loop, count: int) -> None:
    async def main() -> None:
        one = await full()
        for data in numbers(count):
            one.transport.sendto(data)
        one.transport.close()
        await turns(2)
        assert one.protocol.told == ["made"]
        one.transport.sendto(b"9999")
        assert await one.take_all(count + 1) == [*numbers(count), b"9999"]
        assert await one.protocol.ended() is None
        await one.close()

    run(both, main())


def test_t5_abort_drops_what_waits(both: Loop) -> None:
    async def main() -> None:
        one = await full()
        number = one.transport.get_extra_info("socket").fileno()
        for data in numbers(20):
            one.transport.sendto(data)
        one.transport.abort()
        if isinstance(both, noria.Loop):  # asyncio forgets the datagrams, not their number
            assert size_of(one) == 0
        assert await one.protocol.ended() is None
        await turns(1)
        assert not is_open(number)
        assert one.take() == []
        one.peer.close()

    run(both, main())


def test_t5_abort_after_close(both: Loop) -> None:
    async def main() -> None:
        one = await full()
        one.transport.sendto(b"waits")
        one.transport.close()
        await turns(1)
        one.transport.abort()
        assert await one.protocol.ended() is None
        assert one.take() == []
        one.peer.close()

    run(both, main())


def test_a_receiver_that_goes_away_while_something_waits(loop: Loop) -> None:
    """Each datagram fails for itself; the protocol is resumed all the same (asyncio: never)."""

    async def main() -> None:
        one = await full()
        one.transport.set_write_buffer_limits(high=10)
        for data in numbers(5):
            one.transport.sendto(data)
        assert one.protocol.told == ["made", "pause"]
        one.peer.close()
        await until(lambda: "resume" in one.protocol.told)
        sent = [error for error in one.protocol.errors if "(send" in str(error)]
        assert len(sent) == 5
        assert {error.errno for error in sent} <= {errno.ECONNREFUSED, errno.ENOTCONN}
        assert size_of(one) == 0
        assert not one.transport.is_closing()
        await end(one.protocol)

    run(loop, main())


def test_sending_from_error_received_never_ends_in_a_loop_of_its_own(loop: Loop) -> None:
    class Stubborn(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(bytes(70_000), addr)

        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            if not self.transport.is_closing():
                asyncio.get_running_loop().call_soon(lambda: None)
                if len(self.errors) < 50:
                    self.transport.sendto(bytes(70_000), (HOST, 9))

    async def main() -> None:
        server = await endpoint(Stubborn())
        with plain(connect=name_of(server)) as peer:
            for _ in range(4):
                peer.send(b"go")
            await until(lambda: len(server.errors) >= 50)
        await end(server)

    run(loop, main())


def test_an_unconnected_unix_socket_does_not_spin(loop: Any, tmp_path: Path) -> None:
    """It is writable all the time, though its receiver's queue is full: no news to wait for."""

    async def main() -> None:
        path = str(tmp_path / "receiver")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(path)
            receiver.setblocking(False)
            sender = await endpoint(local_addr=str(tmp_path / "sender"), family=socket.AF_UNIX)
            count = 0
            while sender.transport.get_write_buffer_size() == 0:
                sender.transport.sendto(b"%04d" % count, path)
                count += 1
            for _ in range(20):
                sender.transport.sendto(b"%04d" % count, path)
                count += 1
            before = loop._engine.statistics().polls
            started = time.monotonic()
            await asyncio.sleep(0.2)
            polls = loop._engine.statistics().polls - before
            assert polls < 200 * max(1, (time.monotonic() - started) / 0.2)
            found = await arrivals(receiver, count)
            assert found == numbers(count)
            sender.transport.sendto(b"more", path)
            await until(lambda: drain(receiver) == [b"more"])
            # Closing and aborting while it is to be tried again leave no timer behind.
            while sender.transport.get_write_buffer_size() == 0:
                sender.transport.sendto(b"fill", path)
            await asyncio.sleep(0.01)
            await end(sender)

    run(loop, main())


def test_names_wait_like_other_addresses(loop: Loop, tmp_path: Path) -> None:
    """A path as bytes-like object, which only the socket object understands."""

    async def main() -> None:
        path = tmp_path / "receiver"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
            receiver.bind(str(path))
            receiver.setblocking(False)
            sender = await endpoint(family=socket.AF_UNIX)
            sender.transport.sendto(b"0000", bytearray(os.fsencode(path)))
            count = 1
            while sender.transport.get_write_buffer_size() == 0:
                sender.transport.sendto(b"%04d" % count, str(path))
                count += 1
            sender.transport.sendto(b"%04d" % count, bytearray(os.fsencode(path)))
            sender.transport.sendto(b"%04d" % (count + 1), str(path))
            found = await arrivals(receiver, count + 2)
            assert found == numbers(count + 2)
            await end(sender)

    run(loop, main())


def test_an_address_that_is_none_among_those_that_wait(loop: Loop, reports: Reports) -> None:
    async def main() -> None:
        class Sending(Listener):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                super().datagram_received(data, addr)
                self.transport.sendto(b"first", addr)
                self.transport.sendto(b"second", "no address")
                self.transport.sendto(b"third", addr)

        server = await endpoint(Sending())
        with plain(connect=name_of(server)) as peer:
            peer.send(b"a")
            peer.send(b"b")
            assert isinstance(await server.ended(), TypeError)
            assert drain(peer)[0] == b"first"
        assert reports.take_one()["message"] == "Fatal write error on datagram transport"
        await turns(1)

    run(loop, main())


def test_l4_an_interrupt_while_what_waits_is_sent(loop: Loop) -> None:
    class Interrupting(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(bytes(70_000) if data == b"1" else data, addr)

        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise KeyboardInterrupt

    server = loop.run_until_complete(endpoint(Interrupting()))
    with plain(connect=name_of(server)) as peer:
        for number in range(5):
            peer.send(b"%d" % number)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(5))

        async def rest() -> None:
            found = await arrivals(peer, 4)
            assert found == [b"0", b"2", b"3", b"4"]
            await end(server)

        run(loop, rest())
