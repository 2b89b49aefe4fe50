"""L3 and L4: ready callbacks neither starve the rest nor get lost when somebody interrupts them."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Recorder, Reports, end, run, run_turns, turns, until, wire

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTS = [KeyboardInterrupt, SystemExit]

FIRST_BYTES = 12_000
"""Enough for the engine to receive the next message in pieces that fit it."""


class Chain:
    """A callback that schedules itself until it is told to end; `links` counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.links = 0
        self.ended = False
        self.deadline = time.monotonic() + 30

    def __call__(self) -> None:
        """One link."""
        self.links += 1
        if self.links % 1024 == 0 and time.monotonic() > self.deadline:
            self.end()  # whatever should have ended it was starved
        if not self.ended:
            self.loop.call_soon(self)

    def end(self) -> None:
        """Let it end, and the loop with it."""
        self.ended = True
        self.loop.stop()


@pytest.fixture
def chain(both: asyncio.AbstractEventLoop) -> Chain:
    """A chain of callbacks that is already scheduled."""
    made = Chain(both)
    both.call_soon(made)
    return made


def test_l3_a_chain_does_not_starve_timers(both: asyncio.AbstractEventLoop, chain: Chain) -> None:
    due = both.time() + 0.01
    late: list[float] = []
    both.call_at(due, lambda: late.append(both.time() - due))
    both.call_at(due, chain.end)
    both.run_forever()
    assert late
    assert late[0] < 1


def test_l3_a_chain_does_not_starve_readers(both: asyncio.AbstractEventLoop, chain: Chain) -> None:
    left, right = socket.socketpair()
    with left, right:
        both.add_reader(left, chain.end)
        right.send(b"x")
        both.run_forever()
        both.remove_reader(left)
    assert chain.links < 100_000


def test_l3_a_chain_does_not_starve_threads(both: asyncio.AbstractEventLoop, chain: Chain) -> None:
    """Neither the call of the thread, nor the thread itself, which needs the interpreter lock.

    Few steps: every look at the kernel offers the lock to a thread that may be too slow to take it,
    and that begins to count the switch interval anew. On a busy machine one step may take seconds.
    """
    steps: list[int] = []

    def work() -> None:
        for step in range(4):
            time.sleep(0.0001)
            steps.append(step)
        both.call_soon_threadsafe(chain.end)

    thread = threading.Thread(target=work)
    thread.start()
    both.run_forever()
    assert time.monotonic() < chain.deadline
    thread.join()
    assert len(steps) == 4


def test_l3_a_chain_of_timers_does_not_starve_readers(both: asyncio.AbstractEventLoop) -> None:
    left, right = socket.socketpair()
    chain = Chain(both)

    def again() -> None:
        chain.links += 1
        assert chain.links < 500_000
        if not chain.ended:
            both.call_later(0, again)

    with left, right:
        both.call_later(0, again)
        both.add_reader(left, chain.end)
        right.send(b"x")
        both.run_forever()
        both.remove_reader(left)


def test_l3_a_chain_of_tasks_does_not_starve_transports(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> int:
        one = await wire()
        spins = 0
        one.peer.send(b"hello")
        while not one.protocol.data:
            await asyncio.sleep(0)
            spins += 1
            assert spins < 100_000
        await end(one)
        return spins

    assert run(both, main()) < 10_000


def test_l3_links_of_a_chain_share_system_calls(loop: Any) -> None:
    """What a callback schedules runs without another look at the kernel, up to the bound."""
    chain = Chain(loop)
    loop.call_soon(chain)
    loop.call_later(0.02, chain.end)
    before = loop._engine.statistics().polls
    loop.run_forever()
    polls = loop._engine.statistics().polls - before
    assert chain.links > 10 * polls


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_a_callback_loses_no_callback(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    order: list[int] = []

    def fail() -> None:
        raise interrupt

    both.call_soon(order.append, 1)
    both.call_soon(fail)
    both.call_soon(order.append, 2)
    both.call_later(0, order.append, 3)
    with pytest.raises(interrupt):
        both.run_forever()
    assert order == [1]
    assert not both.is_running()
    run_turns(both)
    assert order == [1, 2, 3]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_out_of_a_task_ends_the_run_and_not_the_loop(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    others: list[int] = []

    async def other() -> None:
        for number in range(10):
            await asyncio.sleep(0)
            others.append(number)

    async def main() -> None:
        await asyncio.sleep(0)
        raise interrupt

    task = both.create_task(other())
    with pytest.raises(interrupt):
        both.run_until_complete(main())
    both.run_until_complete(task)
    assert others == list(range(10))


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_data_received_loses_no_byte(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    """Several connections have news in the same turn; one of their protocols is interrupted."""

    class Interrupted(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.chunks) == 1:
                raise interrupt

    async def connect() -> list[Any]:
        return [await wire(Interrupted()) for _ in range(4)]

    wires = run(both, connect())
    for one in wires:
        one.peer.send(b"first")
    for _ in wires:
        with pytest.raises(interrupt):
            both.run_forever()
    for one in wires:
        one.peer.send(b" second")

    async def finish() -> None:
        while not all(one.protocol.data == b"first second" for one in wires):  # noqa: ASYNC110 - the loop has to turn
            await asyncio.sleep(0)
        await end(*wires)

    run(both, finish())
    assert [one.protocol.told for one in wires] == [["made", "lost"]] * 4


class Scene:
    """One connection, one method of whose protocol raises an interrupt the first time."""

    def __init__(self, base: type, method: str, interrupt: type[BaseException]) -> None:
        self.calls = 0
        scene = self
        original = getattr(base, method)

        def interrupted(self: Any, *args: Any) -> Any:
            scene.calls += 1
            result = original(self, *args)
            if scene.calls == 1:
                raise interrupt
            return result

        self.protocol = type("Interrupted", (base,), {method: interrupted})()


class BufferedRecorder(asyncio.BufferedProtocol):
    """Collects what a BufferedProtocol receives."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.memory = bytearray(1000)
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        self.told.append("made")

    def get_buffer(self, sizehint: int) -> bytearray:
        """The same memory each time."""
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        """Collect."""
        self.data += self.memory[:nbytes]

    def eof_received(self) -> bool:
        """Note it."""
        self.told.append("eof")
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self.told.append("lost")


def finish(loop: asyncio.AbstractEventLoop, condition: Callable[[], bool]) -> None:
    """Run on until the condition holds."""

    async def main() -> None:
        while not condition():  # noqa: ASYNC110 - the loop has to turn
            await asyncio.sleep(0)

    run(loop, main())


def interrupted_run(loop: asyncio.AbstractEventLoop, interrupt: type[BaseException]) -> None:
    """Run until the interrupt comes out."""
    with pytest.raises(interrupt):
        run(loop, asyncio.Event().wait())


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_a_buffered_protocol_stops_no_reading(
    both: asyncio.AbstractEventLoop, method: str, interrupt: type[BaseException]
) -> None:
    scene = Scene(BufferedRecorder, method, interrupt)
    one = run(both, wire(scene.protocol))
    one.peer.send(b"before")
    interrupted_run(both, interrupt)
    one.peer.send(b" and after")
    finish(both, lambda: len(one.protocol.data) == 16)
    assert one.protocol.data == b"before and after"
    run(both, end(one))


@pytest.mark.parametrize("base", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_eof_received_does_not_lose_the_end(
    both: asyncio.AbstractEventLoop, base: type, interrupt: type[BaseException]
) -> None:
    scene = Scene(base, "eof_received", interrupt)
    one = run(both, wire(scene.protocol))
    one.peer.shutdown(socket.SHUT_WR)
    interrupted_run(both, interrupt)
    finish(both, lambda: "lost" in one.protocol.told)
    assert scene.calls == 2
    run(both, end(one))


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_connection_made_leaves_a_working_connection(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    scene = Scene(Recorder, "connection_made", interrupt)
    task = both.create_task(wire(scene.protocol))
    interrupted_run(both, interrupt)
    one = run(both, asyncio.wait_for(task, 5))
    one.peer.send(b"hello")
    finish(both, lambda: one.protocol.data == b"hello")
    run(both, end(one))
    assert one.protocol.told == ["made", "lost"]


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_connection_made_of_an_accepted_connection(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    scene = Scene(Recorder, "connection_made", interrupt)
    server = run(both, both.create_server(lambda: scene.protocol, "127.0.0.1", 0))
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.sendall(b"hello")
        interrupted_run(both, interrupt)
        finish(both, lambda: scene.protocol.data == b"hello")
        server.close()
        scene.protocol.transport.abort()
        finish(both, lambda: "lost" in scene.protocol.told)


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_connection_lost_still_closes(
    both: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    scene = Scene(Recorder, "connection_lost", interrupt)
    one = run(both, wire(scene.protocol))
    one.transport.close()
    interrupted_run(both, interrupt)
    assert one.peer.recv(10) == b""
    run_turns(both)
    assert scene.calls == 1
    one.peer.close()


@pytest.mark.parametrize("ending", ["close", "write_eof"])
@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_resume_writing_does_not_lose_the_end(
    loop: asyncio.AbstractEventLoop, interrupt: type[BaseException], ending: str
) -> None:
    """Not held against asyncio, which forgets to close here."""
    scene = Scene(Recorder, "resume_writing", interrupt)
    one = run(loop, wire(scene.protocol))
    size = 4_000_000
    one.transport.write(bytes(size))
    assert one.protocol.told == ["made", "pause"]
    getattr(one.transport, ending)()
    received = 0

    async def drain() -> None:
        nonlocal received
        while data := await one.take_some(1 << 20):
            received += len(data)

    task = loop.create_task(drain())
    interrupted_run(loop, interrupt)
    run(loop, asyncio.wait_for(task, 10))
    assert received == size
    run(loop, end(one))
    assert one.protocol.told[-1] == "lost"


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_while_held_data_is_delivered(
    loop: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    """Data that came in after a pause is delivered on resuming; there too nothing gets lost."""

    class Holding(Recorder):
        raised = False
        before = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self.before:
                return
            if len(self.chunks) == self.before + 1:
                self.transport.pause_reading()
                self.transport.resume_reading()
            elif not self.raised:
                self.raised = True
                raise interrupt

    async def prepare() -> tuple[Any, int]:
        one = await wire(Holding(), tcp=True)
        one.peer.send(bytes(FIRST_BYTES))  # now the engine receives in pieces of about this size
        await until(lambda: len(one.protocol.data) == FIRST_BYTES)
        one.protocol.before = len(one.protocol.chunks)
        return one, FIRST_BYTES + one.fill()

    one, sent = run(loop, prepare())
    interrupted_run(loop, interrupt)
    finish(loop, lambda: len(one.protocol.data) == sent)
    one.peer.send(b"more")
    finish(loop, lambda: len(one.protocol.data) == sent + 4)
    assert one.protocol.raised
    run(loop, end(one))


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_l4_an_interrupt_in_a_protocol_factory_closes_that_connection(
    loop: asyncio.AbstractEventLoop, interrupt: type[BaseException]
) -> None:
    made: list[Recorder] = []

    def factory() -> Recorder:
        if not made:
            made.append(Recorder())
            raise interrupt
        made.append(Recorder())
        return made[-1]

    server = run(loop, loop.create_server(factory, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    with socket.create_connection(address) as first, socket.create_connection(address) as second:
        interrupted_run(loop, interrupt)
        second.sendall(b"hello")
        finish(loop, lambda: len(made) > 1 and made[1].data == b"hello")
        first.settimeout(5)
        assert first.recv(10) == b""
        server.close()
        made[1].transport.abort()
        run(loop, turns())


def test_an_interrupt_of_the_exception_handler_comes_out(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    both.set_exception_handler(handler)
    order: list[int] = []
    both.call_soon(lambda: 1 / 0)
    both.call_soon(order.append, 1)
    with pytest.raises(KeyboardInterrupt):
        both.run_forever()
    run_turns(both)
    assert order == [1]
