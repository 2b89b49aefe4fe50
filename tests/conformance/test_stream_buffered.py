"""BufferedProtocol: data received into the protocol's own memory, and all that can go wrong."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from tests.loops import (
    Recorder,
    Reports,
    end,
    pattern,
    reset,
    run,
    tells_resets,
    turns,
    until,
    wire,
)


class Buffered(asyncio.BufferedProtocol):
    """Collects what it receives, in memory of a given size."""

    def __init__(self, size: int = 1000) -> None:
        self.memory = bytearray(size)
        self.data = bytearray()
        self.told: list[str] = []
        self.transport: Any = None
        self.lost: asyncio.Future[BaseException | None] | None = None
        self.keep_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = transport
        self.lost = asyncio.get_running_loop().create_future()
        self.told.append("made")

    def get_buffer(self, sizehint: int) -> Any:
        """The whole memory; `sizehint` is asyncio's -1."""
        assert sizehint == -1
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        """Collect."""
        assert 0 < nbytes <= len(self.memory)
        self.data += self.memory[:nbytes]

    def eof_received(self) -> bool:
        """Note it."""
        self.told.append("eof")
        return self.keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self.told.append("lost")
        assert self.lost is not None
        self.lost.set_result(exc)

    async def ended(self) -> BaseException | None:
        """Wait for connection_lost."""
        assert self.lost is not None
        return await asyncio.shield(self.lost)


@pytest.mark.parametrize("size", [1, 1000, 65536, 1_000_000])
@pytest.mark.parametrize("tcp", [False, True])
def test_every_byte_arrives_in_order(both: asyncio.AbstractEventLoop, size: int, tcp: bool) -> None:
    async def main() -> None:
        one = await wire(Buffered(size), tcp=tcp)
        sent = pattern(min(1_500_000, 3000 * size))
        done = 0
        while done < len(sent):
            try:
                done += one.peer.send(sent[done:])
            except BlockingIOError:
                await asyncio.sleep(0)
        one.peer.shutdown(socket.SHUT_WR)
        assert await one.protocol.ended() is None
        assert one.protocol.data == sent
        assert one.protocol.told == ["made", "eof", "lost"]
        await end(one)

    run(both, main())


def test_the_buffer_may_be_a_view_into_something_larger(both: asyncio.AbstractEventLoop) -> None:
    class Appending(Buffered):
        used = 0

        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.memory)[self.used :]

        def buffer_updated(self, nbytes: int) -> None:
            self.used += nbytes

    async def main() -> None:
        one = await wire(Appending(100_000))
        for number in range(50):
            one.peer.send(pattern(1000, number))
            await until(lambda n=number: one.protocol.used == 1000 * (n + 1))  # type: ignore[misc] # its default
        assert one.protocol.memory[:50_000] == b"".join(pattern(1000, n) for n in range(50))
        await end(one)

    run(both, main())


def test_half_close(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Buffered())
        one.protocol.keep_open = True
        one.peer.send(b"last words")
        one.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in one.protocol.told)
        assert one.protocol.data == b"last words"
        one.transport.write(b"answer")
        assert await one.take(6) == b"answer"
        await turns()
        assert one.protocol.told == ["made", "eof"]
        await end(one)

    run(both, main())


@tells_resets
def test_a_reset_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Buffered(), tcp=True)
        reset(one.peer)
        assert isinstance(await one.protocol.ended(), ConnectionResetError)
        await end(one)

    run(both, main())


def test_pausing_in_buffer_updated(both: asyncio.AbstractEventLoop) -> None:
    class Pausing(Buffered):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.pause_reading()

    async def main() -> None:
        one = await wire(Pausing(10))
        one.peer.send(pattern(100))
        for count in range(1, 11):
            await until(lambda n=count: len(one.protocol.data) == 10 * n)  # type: ignore[misc] # its default
            await turns(2)
            assert len(one.protocol.data) == 10 * count
            one.transport.resume_reading()
        assert one.protocol.data == pattern(100)
        await end(one)

    run(both, main())


@pytest.mark.parametrize("action", ["close", "abort"])
@pytest.mark.parametrize("method", ["buffer_updated", "eof_received"])
def test_t5_methods_end_their_own_connection(
    both: asyncio.AbstractEventLoop, method: str, action: str
) -> None:
    def ending(self: Any, *args: Any) -> Any:
        result = getattr(super(type(self), self), method)(*args)
        getattr(self.transport, action)()
        return result

    async def main() -> None:
        one = await wire(type("Ending", (Buffered,), {method: ending})(10))
        one.peer.send(b"x" * (5 if method == "eof_received" else 100))
        one.peer.shutdown(socket.SHUT_WR)
        assert await one.protocol.ended() is None
        await turns()
        assert one.protocol.told.count("lost") == 1
        if method == "buffer_updated":
            assert len(one.protocol.data) == 10
        await end(one)

    run(both, main())


WRONG = {
    "empty": (bytearray(), RuntimeError, "get_buffer"),
    "none": (None, TypeError, "get_buffer"),
    "number": (5, TypeError, "get_buffer"),
    "read-only": (b"bytes", TypeError, "read"),
    "text": ("text", TypeError, "read"),
    "list": ([1, 2], TypeError, "read"),
    "strided": (memoryview(bytearray(10))[::2], TypeError, "read"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_t4_a_wrong_buffer_ends_that_connection(
    both: asyncio.AbstractEventLoop, reports: Reports, kind: str
) -> None:
    buffer, exception_type, where = WRONG[kind]

    class Wrong(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            return buffer

    async def main() -> None:
        one, other = await wire(Wrong()), await wire(Buffered())
        one.peer.send(b"x")
        exception = await one.protocol.ended()
        assert isinstance(exception, exception_type)
        report = reports.take_one()
        assert report["exception"] is exception
        assert (
            report["message"]
            == {
                "get_buffer": "Fatal error: protocol.get_buffer() call failed.",
                "read": "Fatal read error on socket transport",
            }[where]
        )
        other.peer.send(b"x")
        await until(lambda: other.protocol.data == b"x")
        await end(one, other)

    run(both, main())


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_t4_an_error_in_a_method_ends_that_connection(
    both: asyncio.AbstractEventLoop, reports: Reports, method: str
) -> None:
    def fail(self: Any, size: int) -> Any:
        raise ValueError("of the user")

    async def main() -> None:
        one = await wire(type("Failing", (Buffered,), {method: fail})())
        one.peer.send(b"x")
        exception = await one.protocol.ended()
        assert isinstance(exception, ValueError)
        report = reports.take_one()
        assert report["message"] == f"Fatal error: protocol.{method}() call failed."
        await end(one)

    run(both, main())


def test_memory_of_larger_items_is_filled_byte_by_byte(both: asyncio.AbstractEventLoop) -> None:
    class Numbers(Buffered):
        def get_buffer(self, sizehint: int) -> memoryview:
            return memoryview(self.memory).cast("I")

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.memory[:nbytes]

    async def main() -> None:
        one = await wire(Numbers(1000))
        one.peer.send(pattern(5000))
        await until(lambda: len(one.protocol.data) == 5000)
        assert one.protocol.data == pattern(5000)
        await end(one)

    run(both, main())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("tcp", [False, True])
def test_t1_switching_between_kinds_while_data_flows(
    both: asyncio.AbstractEventLoop, seed: int, tcp: bool
) -> None:
    """Plain, buffered and asyncio's own stream protocol take turns; not a byte gets lost."""
    seeded = random.Random(seed)
    found = bytearray()
    transport: Any = None

    def switch() -> None:
        if seeded.random() < 0.3:
            transport.set_protocol(seeded.choice([Plain(), Into(seeded.choice([7, 50_000]))]))
        if seeded.random() < 0.2:
            transport.pause_reading()
            both.call_soon(transport.resume_reading)

    class Plain(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            found.extend(data)
            switch()

    class Into(asyncio.BufferedProtocol):
        def __init__(self, size: int) -> None:
            self.memory = bytearray(size)

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.memory

        def buffer_updated(self, nbytes: int) -> None:
            found.extend(self.memory[:nbytes])
            switch()

    async def main() -> None:
        nonlocal transport
        one = await wire(Plain(), tcp=tcp)
        transport = one.transport
        sent = pattern(600_000, seed)
        done = 0
        while done < len(sent):
            try:
                done += one.peer.send(sent[done : done + seeded.choice([1, 10_000, 300_000])])
            except BlockingIOError:
                await asyncio.sleep(0)
            if seeded.random() < 0.5:
                await asyncio.sleep(0)
            if seeded.random() < 0.1:
                transport.set_protocol(seeded.choice([Plain(), Into(1000)]))
        await until(lambda: len(found) == len(sent))
        assert found == sent
        await end(one)

    run(both, main())


def test_switching_while_paused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        one.peer.send(pattern(100))
        await turns(2)
        buffered = Buffered(10)
        buffered.transport = one.transport
        one.transport.set_protocol(buffered)
        one.transport.resume_reading()
        await until(lambda: len(buffered.data) == 100)
        one.transport.pause_reading()
        one.peer.send(b"plain again")
        await turns(2)
        again = Recorder()
        again.lost = both.create_future()
        one.transport.set_protocol(again)
        one.transport.resume_reading()
        await until(lambda: again.data == b"plain again")
        await end(one)
        assert again.told == ["lost"]

    run(both, main())


def test_a_plain_protocol_takes_over_at_the_end(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(Buffered())
        one.peer.send(b"x")
        await until(lambda: one.protocol.data == b"x")
        second = Recorder()
        second.lost = both.create_future()
        one.transport.set_protocol(second)
        one.peer.send(b"y")
        one.peer.shutdown(socket.SHUT_WR)
        await second.ended()
        assert second.events == [b"y", "eof", "lost"]
        await end(one)

    run(both, main())
