"""T1: pausing and resuming at every moment loses no byte, doubles none, and keeps their order."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from tests.loops import Recorder, Reports, end, pattern, run, tells_resets, turns, until, wire

FIRST_BYTES = 12_000
"""Enough for the engine to receive the next message in pieces that fit it: several in one turn."""


async def in_pieces(protocol: Recorder) -> Any:
    """A connection whose next data come in several pieces in one turn."""
    one = await wire(protocol, tcp=True)
    one.peer.send(bytes(FIRST_BYTES))
    while len(protocol.data) < FIRST_BYTES:
        one.transport.resume_reading()  # it may come in several pieces as well
        await asyncio.sleep(0)
    protocol.data.clear()
    protocol.chunks.clear()
    protocol.events.clear()
    return one


def fill_with_pattern(peer: socket.socket, size: int = 2_000_000) -> bytes:
    """Send as much of a pattern as the socket takes."""
    data = pattern(size)
    return data[: peer.send(data)]


def test_t1_nothing_comes_while_paused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        assert one.transport.is_reading()
        one.transport.pause_reading()
        one.transport.pause_reading()
        assert not one.transport.is_reading()
        one.peer.send(b"hello")
        await turns()
        assert one.protocol.data == b""
        one.transport.resume_reading()
        one.transport.resume_reading()
        assert one.transport.is_reading()
        await until(lambda: one.protocol.data == b"hello")
        await end(one)
        assert not one.transport.is_reading()

    run(both, main())


def test_t1_pausing_in_connection_made(both: asyncio.AbstractEventLoop) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    async def main() -> None:
        one = await wire(Paused())
        one.peer.send(b"hello")
        await turns()
        assert one.protocol.data == b""
        one.transport.resume_reading()
        await until(lambda: one.protocol.data == b"hello")
        await end(one)

    run(both, main())


def test_t1_pausing_and_resuming_in_connection_made(both: asyncio.AbstractEventLoop) -> None:
    class Wavering(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()
            transport.resume_reading()

    async def main() -> None:
        one = await wire(Wavering())
        one.peer.send(b"hello")
        await until(lambda: one.protocol.data == b"hello")
        await end(one)

    run(both, main())


def test_t1_what_was_collected_before_the_pause_waits(loop: asyncio.AbstractEventLoop) -> None:
    """One turn may collect several pieces; pausing at the first holds back the others."""

    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            assert self.transport.is_reading(), "data while paused"
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        one = await in_pieces(Recorder())
        protocol = Pausing()
        protocol.transport = one.transport
        one.transport.set_protocol(protocol)
        sent = fill_with_pattern(one.peer)
        while len(protocol.data) < len(sent):
            count = len(protocol.chunks)
            await until(lambda seen=count: len(protocol.chunks) > seen)  # type: ignore[misc] # its default
            await turns(2)
            assert len(protocol.chunks) == count + 1
            one.transport.resume_reading()
        assert protocol.data == sent
        protocol.lost = one.protocol.lost
        await end(one)

    run(loop, main())


def test_t1_resuming_several_times_while_data_is_held(loop: asyncio.AbstractEventLoop) -> None:
    class Wavering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for _ in range(3):
                self.transport.pause_reading()
                self.transport.resume_reading()

    async def main() -> None:
        one = await in_pieces(Wavering())
        sent = fill_with_pattern(one.peer)
        await until(lambda: len(one.protocol.data) >= len(sent))
        assert one.protocol.data == sent
        one.peer.send(b"more")
        await until(lambda: one.protocol.data == sent + b"more")
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("keep_open", [False, True])
def test_t1_the_end_behind_held_data_waits_too(
    loop: asyncio.AbstractEventLoop, keep_open: bool
) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        one = await in_pieces(Pausing())
        one.protocol.keep_open = keep_open
        one.transport.resume_reading()
        sent = fill_with_pattern(one.peer, 200_000)
        one.peer.shutdown(socket.SHUT_WR)
        while "eof" not in one.protocol.told:
            assert "lost" not in one.protocol.told
            one.transport.resume_reading()
            await asyncio.sleep(0)
        assert one.protocol.data == sent
        assert one.protocol.events[-1] == "eof" or not keep_open
        await turns()
        assert ("lost" in one.protocol.told) is not keep_open
        await end(one)

    run(loop, main())


@tells_resets
def test_t1_an_error_behind_held_data_does_not_overtake_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """A connection is reset while its data waits for a paused protocol."""

    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        one = await in_pieces(Pausing())
        one.transport.resume_reading()
        fill_with_pattern(one.peer, 100_000)
        await until(lambda: one.protocol.chunks)
        one.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        one.peer.close()
        await turns()
        assert "lost" not in one.protocol.told, "told while paused"
        while "lost" not in one.protocol.told:
            one.transport.resume_reading()
            await asyncio.sleep(0)
        assert isinstance(await one.protocol.ended(), ConnectionResetError)
        assert one.protocol.told == ["lost"]

    run(loop, main())


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_t1_held_data_is_dropped_when_the_connection_is_closed(
    loop: asyncio.AbstractEventLoop, ending: str
) -> None:
    """asyncio reads nothing after close(), so it delivers nothing either."""

    class Ending(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, ending)()

    async def main() -> None:
        one = await in_pieces(Recorder())
        protocol = Ending()
        protocol.transport, protocol.lost = one.transport, one.protocol.lost
        one.transport.set_protocol(protocol)
        one.transport.write(bytes(5_000_000))  # so that close() has something to wait for
        fill_with_pattern(one.peer)
        await until(lambda: protocol.chunks)
        await turns(2)
        assert len(protocol.chunks) == 1
        if ending == "close":
            await one.take(5_000_000)
        await protocol.ended()
        assert len(protocol.chunks) == 1
        await end(one)

    run(loop, main())


@pytest.mark.parametrize("kind", ["plain", "buffered"])
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_t1_random_pausing_against_a_byte_counter(
    both: asyncio.AbstractEventLoop, seed: int, tcp: bool, kind: str
) -> None:
    seeded = random.Random(seed)
    sent = pattern(2_000_000, seed)

    def waver(transport: Any) -> None:
        if transport.is_closing():
            return
        for _ in range(seeded.choice([0, 0, 1, 1, 2, 3])):
            seeded.choice([transport.pause_reading, transport.resume_reading])()

    class Plain(Recorder):
        def data_received(self, data: bytes) -> None:
            assert self.transport.is_reading()
            super().data_received(data)
            waver(self.transport)

    class Buffered(asyncio.BufferedProtocol):
        transport: Any = None

        def __init__(self) -> None:
            self.data = bytearray()
            self.memory = bytearray(70_000)
            self.told: list[str] = []

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def get_buffer(self, sizehint: int) -> memoryview:
            assert self.transport.is_reading()
            return memoryview(self.memory)[: seeded.randint(1, 70_000)]

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.memory[:nbytes]
            waver(self.transport)

        def eof_received(self) -> None:
            self.told.append("eof")

    async def main() -> None:
        one = await wire(Plain() if kind == "plain" else Buffered(), tcp=tcp)
        done = 0
        while done < len(sent):
            size = seeded.choice([1, 100, 9_000, 20_000, 400_000])
            try:
                done += one.peer.send(sent[done : done + size])
            except BlockingIOError:
                if seeded.random() < 0.5:
                    one.transport.resume_reading()
                await asyncio.sleep(0.0001)
                continue
            waver(one.transport)
            if seeded.random() < 0.3:
                await asyncio.sleep(0)
        one.peer.shutdown(socket.SHUT_WR)
        while "eof" not in one.protocol.told:
            one.transport.resume_reading()
            await asyncio.sleep(0)
        assert len(one.protocol.data) == len(sent)
        assert one.protocol.data == sent
        await end(one)

    run(both, main())


def test_t1_a_paused_connection_does_not_spin(loop: Any) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.pause_reading()
        one.fill()
        await turns(2)
        before = loop._engine.statistics().waits
        await asyncio.sleep(0.05)
        assert loop._engine.statistics().waits - before < 20
        await end(one)

    run(loop, main())


def test_e11_one_connection_does_not_starve_the_others(both: asyncio.AbstractEventLoop) -> None:
    """A firehose and a trickle: the trickle is served in every turn."""

    async def main() -> None:
        firehose, trickle = await wire(tcp=True), await wire()
        for _ in range(50):
            firehose.fill(bytes(1 << 20))
            trickle.peer.send(b"x")
            before = len(firehose.protocol.data)
            count = len(trickle.protocol.data)
            await until(lambda seen=count: len(trickle.protocol.data) > seen)  # type: ignore[misc] # its default
            assert len(firehose.protocol.data) - before < 4_000_000
        await end(firehose, trickle)

    run(both, main())


def test_t4_an_error_in_data_received_ends_that_connection_only(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ValueError("of the user")

    async def main() -> None:
        failing, other = await wire(Failing()), await wire()
        failing.peer.send(b"x")
        other.peer.send(b"x")
        exception = await failing.protocol.ended()
        assert isinstance(exception, ValueError)
        report = reports.take_one()
        assert report["message"] == "Fatal error: protocol.data_received() call failed."
        assert report["exception"] is exception
        assert report["transport"] is failing.transport
        assert report["protocol"] is failing.protocol
        await until(lambda: other.protocol.data == b"x")
        other.transport.write(b"y")
        assert await other.take(1) == b"y"
        assert failing.peer.recv(10) == b""
        await end(failing, other)

    run(both, main())


def test_t4_a_cancelled_error_in_data_received_ends_it_too(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise asyncio.CancelledError

    async def main() -> None:
        failing = await wire(Failing())
        failing.peer.send(b"x")
        assert isinstance(await failing.protocol.ended(), asyncio.CancelledError)
        reports.take_one()
        await end(failing)

    run(both, main())


def test_t4_an_error_in_connection_made_is_reported_and_the_connection_lives(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise ValueError("of the user")

    async def main() -> None:
        one = await wire(Failing())
        report = reports.take_one()
        assert isinstance(report["exception"], ValueError)
        one.peer.send(b"hello")
        await until(lambda: one.protocol.data == b"hello")
        await end(one)
        assert one.protocol.told == ["made", "lost"]

    run(both, main())


def test_the_protocol_can_be_changed_in_data_received(both: asyncio.AbstractEventLoop) -> None:
    class First(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(second)

    second = Recorder()

    async def main() -> None:
        one = await wire(First())
        assert one.transport.get_protocol() is one.protocol
        one.peer.send(b"one")
        await until(lambda: one.protocol.data == b"one")
        assert one.transport.get_protocol() is second
        one.peer.send(b"two")
        await until(lambda: second.data == b"two")
        second.lost = both.create_future()
        one.transport.close()
        await second.ended()
        assert second.told == ["lost"]
        assert one.protocol.told == ["made"]
        await turns(1)
        assert one.transport.get_protocol() is None
        await end(one)

    run(both, main())
