"""Life and death of loops: made, closed, forgotten, forked, and alive at the interpreter's exit."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.engines.registry import ENGINES
from tests.ledger import open_descriptors
from tests.loops import Recorder, end, is_open, open_loop, run, run_turns, turns, until, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ledger import Ledger

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
FORK_WARNING = "ignore:.*multi-threaded, use of fork:DeprecationWarning"


def in_child(action: Callable[[], None]) -> None:
    """Run in a forked child; its failure is the test's."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs must not hang the test
        try:
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed, see its traceback"


def warned(caught: list[warnings.WarningMessage], what: str) -> list[str]:
    """Messages of ResourceWarnings that begin with a text."""
    return [
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, ResourceWarning) and str(warning.message).startswith(what)
    ]


def test_an_unclosed_loop_warns_and_is_closed(both: Any) -> None:
    engine = getattr(both, "engine", None)
    make = asyncio.SelectorEventLoop if engine is None else lambda: noria.new_event_loop(engine)
    before = open_descriptors()
    forgotten: Any = make()
    run_turns(forgotten)
    assert open_descriptors() - before or not before, (
        "which is empty where the system does not tell"
    )
    reference = weakref.ref(forgotten)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del forgotten
        gc.collect()
    assert len(warned(caught, "unclosed event loop")) == 1
    caught.clear()  # a warning keeps what it is about
    gc.collect()
    assert reference() is None
    assert not open_descriptors() - before


def test_an_unclosed_loop_with_everything_on_it(loop: Any) -> None:
    """Transports, servers, watches, timers and tasks go with it; nobody else's descriptor does."""
    made = noria.new_event_loop(loop.engine)
    foreign = socket.socketpair()

    async def main() -> list[socket.socket]:
        one = await wire()
        paused = await wire(asyncio.Protocol())
        paused.transport.pause_reading()
        await made.create_server(Recorder, "127.0.0.1", 0)  # noqa: F821 - deleted after main has run
        watched = socket.socketpair()
        made.add_reader(watched[0], print)  # noqa: F821 - deleted after main has run
        made.call_later(1000, print)  # noqa: F821 - deleted after main has run
        made.call_soon_threadsafe(print)  # noqa: F821 - deleted after main has run
        return [one.peer, paused.peer, *watched]

    kept = run(made, main())
    reference = weakref.ref(made)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del made
        gc.collect()
    assert len(warned(caught, "unclosed event loop")) == 1
    caught_sockets = warned(caught, "unclosed <socket")
    assert len(warned(caught, "unclosed transport")) + len(caught_sockets) >= 2
    caught.clear()  # a warning keeps what it is about
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert reference() is None
    assert kept[0].recv(10) == b""
    assert kept[1].recv(10) == b""
    kept[2].send(b"the user's own")
    assert kept[3].recv(100) == b"the user's own"
    foreign[0].send(b"untouched")
    assert foreign[1].recv(100) == b"untouched"
    for sock in (*kept, *foreign):
        sock.close()


def test_a_closed_loop_is_forgotten_at_once(loop: Any) -> None:
    made = noria.new_event_loop(loop.engine)
    run(made, turns(2))
    made.close()
    reference = weakref.ref(made)
    gc.disable()
    try:
        del made
        assert reference() is None, "a loop that is closed needs no collector"
    finally:
        gc.enable()


def test_close_leaves_what_is_the_users(loop: Any) -> None:
    left, right = socket.socketpair()
    left.setblocking(False)
    loop.add_reader(left, print)
    task = loop.create_task(loop.sock_recv(left, 10))
    run_turns(loop)
    task.cancel()
    run_turns(loop)
    loop.close()
    right.send(b"still open")
    assert left.recv(100) == b"still open"
    left.close()
    assert right.recv(1) == b""
    right.close()


def test_a_loop_can_be_run_by_another_thread(both: asyncio.AbstractEventLoop) -> None:
    one = run(both, wire())
    seen: list[bytes] = []

    def work() -> None:
        one.peer.send(b"hello")
        run(both, until(lambda: one.protocol.data == b"hello"))
        seen.append(bytes(one.protocol.data))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [b"hello"]
    run(both, end(one))


def test_loops_in_several_threads(loop: Any) -> None:
    """Each thread has its own; they talk over sockets and by call_soon_threadsafe."""
    results: list[int] = []

    def work(number: int) -> None:
        made = noria.new_event_loop(loop.engine)

        async def main() -> None:
            one = await wire()
            for step in range(50):
                one.peer.send(b"%d" % step)
                await until(lambda n=step: one.protocol.chunks[n:])  # type: ignore[misc] # its default
            await end(one)
            results.append(len(one.protocol.chunks))

        try:
            run(made, main())
        finally:
            made.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [50] * 4


@forks
@pytest.mark.posix
@pytest.mark.filterwarnings(FORK_WARNING)
def test_e10_a_forked_child_cannot_run_the_loop_and_closes_its_own_copies(
    loop: asyncio.AbstractEventLoop,
) -> None:
    one = run(loop, wire())
    number = one.transport.get_extra_info("socket").fileno()

    def child() -> None:
        with pytest.raises(RuntimeError, match="parent"):
            loop.run_forever()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="parent"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        one.transport.abort()
        loop.close()
        assert is_open(number), "closed only when connection_lost was called"

    in_child(child)
    one.peer.send(b"the parent goes on")
    run(loop, until(lambda: one.protocol.data == b"the parent goes on"))
    one.transport.write(b"both ways")
    assert one.peer.recv(100) == b"both ways"
    run(loop, end(one))


@forks
@pytest.mark.posix
@pytest.mark.filterwarnings(FORK_WARNING)
def test_e10_a_child_forked_in_a_callback_makes_its_own_loop(
    loop: Any,
) -> None:
    async def in_parent() -> None:
        one = await wire()

        def child() -> None:
            async def main() -> bytes:
                other = await wire()
                other.peer.send(b"child")
                await until(lambda: other.protocol.data)
                await end(other)
                return bytes(other.protocol.data)

            with asyncio.Runner(loop_factory=lambda: noria.new_event_loop(loop.engine)) as runner:
                assert runner.run(main()) == b"child"

        in_child(child)
        one.peer.send(b"parent")
        await until(lambda: one.protocol.data == b"parent")
        await end(one)

    run(loop, in_parent())


@forks
@pytest.mark.posix
@pytest.mark.filterwarnings(FORK_WARNING)
def test_e10_closing_in_the_child_takes_nothing_from_the_parent(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """An epoll set is shared with the child; what it removes would be gone for the parent too."""
    left, right = socket.socketpair()
    left.setblocking(False)
    calls: list[bytes] = []
    loop.add_reader(left, lambda: calls.append(left.recv(10)))
    one = run(loop, wire())

    def child() -> None:
        loop.remove_reader(left)
        one.transport.abort()
        loop.close()
        gc.collect()

    in_child(child)
    right.send(b"x")
    one.peer.send(b"y")
    run(loop, until(lambda: calls and one.protocol.data))
    loop.remove_reader(left)
    left.close()
    right.close()
    run(loop, end(one))


SCRIPT_HEAD = """
import asyncio, gc, socket, sys, threading
import noria

class Protocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

loop = noria.new_event_loop(sys.argv[1])
left, right = socket.socketpair()
"""

ENDINGS = {
    "idle": "loop.run_until_complete(asyncio.sleep(0))",
    "never run": "",
    "connected": """
        transport, protocol = loop.run_until_complete(
            loop.create_connection(Protocol, sock=left))
        transport.write(b"x")
    """,
    "serving": """
        server = loop.run_until_complete(loop.create_server(Protocol, "127.0.0.1", 0))
        loop.run_until_complete(asyncio.sleep(0.001))
    """,
    "watching": """
        loop.add_reader(left, print)
        loop.run_until_complete(asyncio.sleep(0.001))
    """,
    "executor": "loop.run_until_complete(loop.run_in_executor(None, int))",
    "resolver": "loop.run_until_complete(loop.getaddrinfo('localhost', 80))",
    "pending task": """
        async def wait():
            await asyncio.sleep(1000)
        task = loop.create_task(wait())
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
    """,
    "signal handler": """
        import signal
        loop.add_signal_handler(signal.SIGTERM, print)
        loop.run_until_complete(asyncio.sleep(0))
    """,
    "running in a daemon thread": """
        started = threading.Event()
        loop.call_soon(started.set)
        threading.Thread(target=loop.run_forever, daemon=True).start()
        started.wait()
    """,
    "exit in a callback": """
        loop.call_soon(sys.exit, 0)
        loop.run_forever()
    """,
    "in a cycle": """
        class Holder: pass
        holder = Holder()
        holder.loop, holder.me = loop, holder
        transport, protocol = loop.run_until_complete(
            loop.create_connection(Protocol, sock=left))
        del loop, holder, transport, protocol
    """,
    "closed": "loop.close()",
}

UNCERTAIN = {"running in a daemon thread", "resolver"}
"""Where a thread may hold the loop until nobody can warn any more."""

ON_EVERY_ENGINE = ("connected", "serving", "watching")
"""Endings with something in the engine; the others run on the one that is chosen by itself."""

EXITS = [
    *(("auto", ending) for ending in ENDINGS),
    *((engine, ending) for engine in ENGINES for ending in ON_EVERY_ENGINE),
]


@pytest.mark.parametrize(("engine", "ending"), EXITS)
def test_the_interpreter_exits_with_a_live_loop(engine: str, ending: str) -> None:
    """It does not hang, does not crash, and warns of what was left open."""
    if ending == "signal handler" and sys.platform == "win32":
        pytest.skip("Windows has no signals for a loop")
    if engine != "auto":
        open_loop(engine).close()  # skips where it cannot run
    script = SCRIPT_HEAD + textwrap.dedent(ENDINGS[ending])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, engine],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert "Fatal Python error" not in done.stderr
    if ending not in UNCERTAIN:
        assert ("unclosed event loop" in done.stderr) is (ending != "closed"), done.stderr


@pytest.mark.posix
def test_the_interpreter_exits_by_ctrl_c(loop: Any) -> None:
    script = SCRIPT_HEAD + textwrap.dedent(
        """
        loop.call_soon(lambda: print("ready", flush=True))
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            loop.run_until_complete(asyncio.sleep(0))
            print("resumed", flush=True)
            loop.close()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, loop.engine], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "resumed\n"
        assert process.wait(10) == 0


def test_a_loop_closed_with_live_transports(loop: Any, ledger: Ledger) -> None:
    """E12: nothing is in flight afterwards, whatever was going on."""
    wires = [run(loop, wire(tcp=number % 2 == 0)) for number in range(4)]
    wires[0].transport.write(bytes(5_000_000))
    wires[1].transport.pause_reading()
    wires[2].transport.close()
    wires[3].peer.send(b"unread")
    loop.close()
    assert loop._engine.statistics().in_flight == 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in wires:
            one.transport = one.protocol = None
            one.peer.close()
        del one
        gc.collect()
    assert len(warned(caught, "unclosed transport")) == 4
