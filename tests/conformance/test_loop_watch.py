"""L6 and D3: add_reader and add_writer on descriptors that the user owns."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from noria.limits import SELECT_SOCKETS_MAX
from tests.conftest import build_under_test
from tests.loops import POSIX, end, fill, run, run_turns, tcp_pair, turns, until, wire

if TYPE_CHECKING:
    from tests.loops import Users


def same_number(sock: socket.socket, number: int) -> socket.socket:
    """Move a socket to a number that was just closed."""
    if sock.fileno() == number:
        return sock
    os.dup2(sock.fileno(), number)
    sock.close()
    return socket.socket(fileno=number)


def test_l6_a_callback_that_reads_one_of_ten_bytes_is_called_ten_times(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    read: list[bytes] = []
    both.add_reader(left, lambda: read.append(left.recv(1)))
    right.send(b"0123456789")
    run_turns(both, 30)
    assert b"".join(read) == b"0123456789"
    assert both.remove_reader(left) is True
    assert both.remove_reader(left) is False
    assert both.remove_reader(10**30) is False


def test_l6_a_callback_that_reads_nothing_is_called_every_turn(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    calls: list[int] = []
    both.add_reader(left.fileno(), calls.append, 1)
    right.send(b"x")
    run_turns(both, 20)
    assert 18 <= len(calls) <= 21
    both.remove_reader(left.fileno())
    count = len(calls)
    run_turns(both, 5)
    assert len(calls) == count


def test_l6_a_writer_is_called_as_long_as_there_is_room(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    calls: list[int] = []
    both.add_writer(left, calls.append, 1)
    run_turns(both, 10)
    assert 8 <= len(calls) <= 11
    fill(left)
    run_turns(both, 2)
    calls.clear()
    run_turns(both, 5)
    assert not calls
    while True:
        try:
            right.recv(1 << 20)
        except BlockingIOError:
            break
    run_turns(both, 5)
    assert calls
    assert both.remove_writer(left) is True
    assert both.remove_writer(left) is False


def test_l6_reader_and_writer_of_one_descriptor(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    seen: list[str] = []
    both.add_reader(left, seen.append, "r")
    both.add_writer(left, seen.append, "w")
    run_turns(both, 5)
    assert set(seen) == {"w"}
    right.send(b"x")
    run_turns(both, 5)
    assert seen.count("r") >= 3
    both.remove_writer(left)
    seen.clear()
    run_turns(both, 5)
    assert set(seen) == {"r"}
    both.remove_reader(left)
    seen.clear()
    run_turns(both, 5)
    assert not seen


def test_l6_a_new_reader_replaces_the_old_one(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    seen: list[str] = []
    both.add_reader(left, seen.append, "old")
    right.send(b"x")
    run_turns(both, 3)
    both.add_reader(left, seen.append, "new")
    seen.clear()
    run_turns(both, 5)
    assert set(seen) == {"new"}
    assert both.remove_reader(left)
    seen.clear()
    run_turns(both, 5)
    assert not seen


def test_l6_a_reader_that_is_replaced_in_the_turn_of_its_news_is_not_called(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    other, far = socket.socketpair()
    seen: list[str] = []

    def swap(mine: socket.socket, theirs: socket.socket, name: str) -> None:
        seen.append(name)
        mine.recv(1)
        both.add_reader(theirs, lambda: (seen.append("new"), theirs.recv(1)))  # type: ignore[func-returns-value] # for its effect

    with other, far:
        both.add_reader(left, swap, left, other, "left")
        both.add_reader(other, swap, other, left, "other")
        right.send(b"x")
        far.send(b"x")
        run_turns(both, 5)
        assert sorted(seen) in (["left", "new"], ["new", "other"])
        both.remove_reader(left)
        both.remove_reader(other)


def test_l6_a_reader_removes_itself(both: asyncio.AbstractEventLoop, users: Users) -> None:
    left, right = users
    calls: list[bool] = []
    both.add_reader(left, lambda: calls.append(both.remove_reader(left)))
    right.send(b"x")
    run_turns(both, 5)
    assert calls == [True]
    both.add_reader(left, lambda: calls.append(both.remove_reader(left)))
    run_turns(both, 5)
    assert calls == [True, True], "what was not read is still news"


def test_l6_readers_remove_each_other(both: asyncio.AbstractEventLoop, users: Users) -> None:
    left, right = users
    calls: list[str] = []

    def remove(name: str, other: socket.socket) -> None:
        calls.append(name)
        both.remove_reader(other)

    both.add_reader(left, remove, "left", right)
    both.add_reader(right, remove, "right", left)
    left.send(b"x")
    right.send(b"x")
    run_turns(both, 5)
    assert len(set(calls)) == 1
    both.remove_reader(left)
    both.remove_reader(right)


def test_l6_the_context_is_that_of_the_adding(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    def read() -> None:
        left.recv(1)
        seen.append(variable.get())
        variable.set("set in the callback")

    def add() -> None:
        variable.set("mine")
        both.add_reader(left, read)

    contextvars.copy_context().run(add)
    right.send(b"12")
    run_turns(both, 5)
    assert seen == ["mine", "set in the callback"]
    assert variable.get() == "none"
    both.remove_reader(left)


def test_l6_the_end_of_the_stream_is_readable(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    seen: list[bytes] = []
    both.add_reader(left, lambda: seen.append(left.recv(10)))
    right.close()
    run_turns(both, 4)
    assert set(seen) == {b""}
    both.remove_reader(left)


@pytest.mark.posix
def test_l6_pipes_can_be_watched(both: asyncio.AbstractEventLoop) -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []
    both.add_reader(reader, lambda: seen.append(os.read(reader, 2)))
    both.add_writer(writer, lambda: (both.remove_writer(writer), os.write(writer, b"hello")))
    run_turns(both, 8)
    assert b"".join(seen) == b"hello"
    both.remove_reader(reader)
    os.close(reader)
    calls: list[int] = []
    both.add_writer(writer, calls.append, 1)  # an error is told to the writer
    run_turns(both, 3)
    assert calls
    both.remove_writer(writer)
    os.close(writer)


def test_d3_the_peer_sees_the_end_when_the_user_closes(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    """No engine keeps the file open: neither with a watch nor after it was removed."""
    left, right = users
    both.add_reader(left, print)
    run_turns(both, 2)
    both.remove_reader(left)
    left.close()
    assert right.recv(1) == b""


@pytest.mark.posix
def test_d3_the_peer_sees_the_end_of_a_watched_descriptor(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, right = users
    number = left.fileno()
    both.add_reader(left, print)
    run_turns(both, 2)
    left.close()
    assert right.recv(1) == b""
    run_turns(both, 3)
    both.remove_reader(number)


@pytest.mark.posix
def test_d3_a_number_that_is_used_again_is_watched_anew(loop: asyncio.AbstractEventLoop) -> None:
    """The user closes without removing; the next file of that number gets a reader of its own."""
    seen: list[str] = []
    left, right = socket.socketpair()
    number = left.fileno()
    loop.add_reader(left, seen.append, "old")
    run_turns(loop, 2)
    left.close()
    fresh, far = socket.socketpair()
    with right, far, same_number(fresh, number) as fresh:
        loop.add_reader(fresh, lambda: seen.append(fresh.recv(10).decode()))
        far.send(b"new")
        run_turns(loop, 4)
        assert seen == ["new"]
        loop.remove_reader(fresh)


class Spinning:
    """Measures whether the loop sleeps when nothing happens."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    def waits(self, seconds: float = 0.05) -> int:
        """How often the engine waits while the loop does nothing for a while."""
        engine = self.loop._engine
        before: int = engine.statistics().waits
        run(self.loop, asyncio.sleep(seconds))
        return int(engine.statistics().waits) - before


IDLE_WAITS = 20
"""Waits of a loop that sleeps for a while, time-outs of milliseconds included; a spin makes
thousands."""


def duplicated(users: Users) -> tuple[socket.socket, socket.socket, socket.socket]:
    """The user's sockets, and a duplicate of the first."""
    left, right = users
    return left, left.dup(), right


@pytest.mark.posix
def test_l6_a_watch_removed_after_close_does_not_spin_on_a_duplicate(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """epoll keeps a registration as long as any duplicate is open, and nobody can remove it."""
    left, duplicate, right = duplicated(users)
    number = left.fileno()
    with duplicate:
        loop.add_reader(left, print)
        run_turns(loop, 2)
        left.close()
        loop.remove_reader(number)
        right.send(b"x")
        assert Spinning(loop).waits() < IDLE_WAITS
        assert duplicate.recv(10) == b"x"


@pytest.mark.posix
def test_l6_a_registration_left_by_sock_recv_does_not_spin_on_a_duplicate(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, duplicate, right = duplicated(users)

    async def receive() -> bytes:
        loop.call_later(0.001, right.send, b"first")
        return await loop.sock_recv(left, 10)

    with duplicate:
        assert run(loop, receive()) == b"first"
        left.close()
        right.send(b"x")
        assert Spinning(loop).waits() < IDLE_WAITS


@pytest.mark.posix
def test_l6_a_duplicate_does_not_disturb_who_has_the_number_now(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """The old registration still reports under a number that belongs to another file by now."""
    left, duplicate, right = duplicated(users)
    number = left.fileno()
    loop.add_reader(left, print)
    run_turns(loop, 2)
    left.close()
    loop.remove_reader(number)
    fresh, far = socket.socketpair()
    calls: list[int] = []
    with duplicate, far, same_number(fresh, number) as fresh:
        loop.add_reader(fresh, calls.append, 1)
        right.send(b"x")
        waits = Spinning(loop).waits()
        assert not calls, "news of another file"
        assert waits < IDLE_WAITS
        far.send(b"y")
        run_turns(loop, 3)
        assert calls
        loop.remove_reader(fresh)


@pytest.mark.posix
def test_l6_a_registration_left_behind_does_not_disturb_who_has_the_number_now(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """As above, but nobody has ever tried to remove it: only the tag tells."""
    if build_under_test() == "interpreted" and "epoll" in loop.engine:  # type: ignore[attr-defined]
        pytest.skip("the standard module has no room for a tag")
    left, duplicate, right = duplicated(users)
    number = left.fileno()

    async def receive() -> bytes:
        loop.call_later(0.001, right.send, b"first")
        return await loop.sock_recv(left, 10)

    assert run(loop, receive()) == b"first"
    left.close()
    fresh, far = socket.socketpair()
    calls: list[int] = []
    with duplicate, far, same_number(fresh, number) as fresh:
        loop.add_reader(fresh, calls.append, 1)
        right.send(b"x")
        waits = Spinning(loop).waits()
        assert not calls, "news of another file"
        assert waits < IDLE_WAITS
        loop.remove_reader(fresh)


@pytest.mark.posix
def test_l6_what_else_is_watched_survives_a_duplicate(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """Getting rid of the old registration costs neither transports nor watches their news."""

    async def main() -> None:
        wires = [await wire(tcp=number % 2 == 0) for number in range(10)]
        wires[0].transport.pause_reading()
        wires[0].peer.send(b"while paused")
        wires[1].transport.write(bytes(4_000_000))
        others = [socket.socketpair() for _ in range(4)]
        calls: list[int] = []
        for number, (mine, _) in enumerate(others):
            mine.setblocking(False)
            loop.add_reader(mine, lambda n=number, s=mine: calls.append(n) if s.recv(1) else None)  # type: ignore[misc] # its default
        left, duplicate, right = duplicated(users)
        number = left.fileno()
        loop.add_reader(left, print)
        await turns(2)
        left.close()
        loop.remove_reader(number)
        right.send(b"x")
        await turns(3)
        for one in wires[2:]:
            one.peer.send(b"hello")
        for _, far in others:
            far.send(b"1")
        await until(lambda: all(one.protocol.data == b"hello" for one in wires[2:]))
        await until(lambda: sorted(calls) == [0, 1, 2, 3])
        wires[0].transport.resume_reading()
        await until(lambda: wires[0].protocol.data == b"while paused")
        assert await wires[1].take(4_000_000) == bytes(4_000_000)
        await until(lambda: wires[1].protocol.told == ["made", "pause", "resume"])
        for mine, far in others:
            loop.remove_reader(mine)
            mine.close()
            far.close()
        duplicate.close()
        await end(*wires)

    run(loop, main())


def test_a_regular_file_cannot_be_watched(both: asyncio.AbstractEventLoop, tmp_path: Any) -> None:
    if isinstance(both, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's poll and select say nothing")
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with path.open("rb") as file, pytest.raises(OSError, match="watch on descriptor") as caught:
        both.add_reader(file, print)
    assert caught.value.errno == (errno.EPERM if POSIX else errno.ENOTSOCK)


@pytest.mark.skipif(POSIX, reason="pipes can be watched on Unix")
def test_what_is_no_socket_cannot_be_watched_on_windows(loop: asyncio.AbstractEventLoop) -> None:
    reader, writer = os.pipe()
    for fd, method, remove in (
        (reader, loop.add_reader, loop.remove_reader),
        (writer, loop.add_writer, loop.remove_writer),
    ):
        with pytest.raises(OSError, match=r"nonsocket \(watch on descriptor") as caught:
            method(fd, print)
        assert caught.value.errno == errno.ENOTSOCK
        assert remove(fd) is False
    os.close(reader)
    os.close(writer)
    run_turns(loop)


@pytest.mark.skipif(POSIX, reason="the limit of Windows; Unix has one of numbers")
def test_one_more_than_select_takes_is_refused_on_windows(both: asyncio.AbstractEventLoop) -> None:
    if isinstance(both, asyncio.SelectorEventLoop):
        pytest.skip("asyncio's loop breaks when it waits for too many")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(SELECT_SOCKETS_MAX)]
        watched = socks[: SELECT_SOCKETS_MAX - 1]  # the waker is one too
        for sock in watched:
            both.add_reader(sock, print)
        with pytest.raises(OSError, match="more sockets than the engine can watch") as caught:
            both.add_reader(socks[-1], print)
        assert caught.value.errno == errno.EMFILE
        seen: list[int] = []
        mine, far = (stack.enter_context(sock) for sock in tcp_pair())
        both.remove_reader(watched.pop())
        both.add_reader(mine, lambda: seen.append(len(mine.recv(10))))
        far.send(b"x")
        run_turns(both)
        assert 1 in seen, "there is room for another one"
        for sock in (mine, *watched):
            both.remove_reader(sock)


def test_a_closed_descriptor_cannot_be_watched(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, _ = users
    number = left.fileno()
    left.close()
    with pytest.raises(ValueError, match="Invalid file"):
        both.add_reader(left, print)
    if not isinstance(both, asyncio.SelectorEventLoop):
        with pytest.raises(OSError, match="Bad file descriptor" if POSIX else "nonsocket"):
            both.add_reader(number, print)
        assert both.remove_reader(number) is False


@pytest.mark.parametrize("wrong", ["a string", None, object(), -1])
def test_what_is_no_descriptor_is_a_value_error(
    both: asyncio.AbstractEventLoop, wrong: Any
) -> None:
    for method in (both.add_reader, both.add_writer):
        with pytest.raises(ValueError, match="Invalid file"):
            method(wrong, print)
    for remove in (both.remove_reader, both.remove_writer):
        with contextlib.suppress(ValueError):
            assert remove(wrong) is False


def test_a_descriptor_of_a_transport_is_refused(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        fd = one.transport.get_extra_info("socket").fileno()
        for attempt in (
            lambda: both.add_reader(fd, print),
            lambda: both.add_writer(fd, print),
            lambda: both.remove_reader(fd),
            lambda: both.remove_writer(fd),
        ):
            with pytest.raises(RuntimeError, match="is used by transport"):
                attempt()
        await end(one)

    run(both, main())


def test_a_descriptor_of_a_paused_transport_is_refused(both: asyncio.AbstractEventLoop) -> None:
    """Also of one that has never been read from."""

    class Paused(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.pause_reading()

    async def main() -> None:
        one = await wire(Paused())
        fd = one.transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError, match="is used by transport"):
            both.add_reader(fd, print)
        await end(one)

    run(both, main())


def test_many_watches_at_once(both: asyncio.AbstractEventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(200)]
    seen: list[int] = []
    for number, (mine, _) in enumerate(pairs):
        mine.setblocking(False)
        both.add_reader(mine, lambda n=number, s=mine: seen.append(n) if s.recv(1) else None)  # type: ignore[misc] # its default
    for _, far in pairs:
        far.send(b"x")
    run_turns(both, 8)
    assert sorted(seen) == list(range(200))
    for mine, far in pairs:
        both.remove_reader(mine)
        mine.close()
        far.close()


def test_an_idle_loop_with_watches_sleeps(loop: asyncio.AbstractEventLoop, users: Users) -> None:
    left, right = users
    loop.add_reader(left, print)
    loop.add_reader(right, print)
    run_turns(loop, 2)
    started = time.thread_time()
    assert Spinning(loop).waits(0.1) < IDLE_WAITS
    assert time.thread_time() - started < 0.05
    loop.remove_reader(left)
    loop.remove_reader(right)


def test_connecting_is_watched_by_a_writer(both: asyncio.AbstractEventLoop) -> None:
    left, right = tcp_pair()
    calls: list[int] = []
    with left, right:
        left.setblocking(False)
        both.add_writer(left, lambda: (calls.append(1), both.remove_writer(left)))  # type: ignore[func-returns-value] # for its effect
        run_turns(both, 4)
        assert calls == [1]
