"""The coroutines of sock_recv and sock_sendall: what `async def` would be, and a hint."""

from __future__ import annotations

import asyncio
import errno
import gc
import inspect
import socket
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.limits import VAIN_RECEIVES_MAX, VAIN_RECEIVES_MIN
from noria.native import sockets as native
from tests.loops import run

if TYPE_CHECKING:
    from tests.loops import Users


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Results of the receives that coroutines attempt; only the interpreted build shows them."""
    if native.COMPILED:
        pytest.skip("compiled attempts do not go through a module's dictionary")
    results: list[int] = []
    receive = native.receive

    def counted(fd: int, sock: Any, size: int) -> bytes | int:
        data = receive(fd, sock, size)
        results.append(len(data) if isinstance(data, bytes) else data)
        return data

    monkeypatch.setattr(native, "receive", counted)
    return results


def receive(loop: noria.Loop, sock: socket.socket) -> Any:
    return loop.sock_recv(sock, 100)


def test_they_are_coroutines(loop: noria.Loop, users: Users) -> None:
    left, _ = users
    coroutine = receive(loop, left)
    assert all([isinstance(coroutine, Coroutine), inspect.isawaitable(coroutine)])
    assert bool(asyncio.iscoroutine(coroutine))
    assert coroutine.__name__ == coroutine.__qualname__ == "sock_recv"
    assert not coroutine.cr_running
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = coroutine.nothing_such
    coroutine.close()


def test_a_method_is_a_coroutine_function() -> None:
    for method in (noria.Loop.sock_recv, noria.Loop.sock_sendall):
        if sys.version_info < (3, 12):
            assert asyncio.iscoroutinefunction(method)
        else:
            assert inspect.iscoroutinefunction(method)


def test_a_task_shows_which_method_it_runs(loop: noria.Loop, users: Users) -> None:
    left, right = users

    async def main() -> str:
        task = asyncio.ensure_future(receive(loop, left))
        await asyncio.sleep(0)
        shown = repr(task)
        right.send(b"x")
        assert await task == b"x"
        return shown

    assert "sock_recv()" in run(loop, main())


def test_one_that_nobody_awaits_warns(loop: noria.Loop, users: Users) -> None:
    left, _ = users
    coroutine: Any = loop.sock_sendall(left, b"x")
    with pytest.warns(RuntimeWarning, match=r"coroutine 'sock_sendall' was never awaited"):
        del coroutine


def test_nothing_happens_before_it_is_awaited(loop: noria.Loop, users: Users) -> None:
    left, right = users
    right.setblocking(False)
    coroutine = loop.sock_sendall(left, b"x")
    with pytest.raises(BlockingIOError):
        right.recv(1)
    coroutine.close()
    coroutine.close()


def test_it_cannot_be_used_twice(loop: noria.Loop, users: Users) -> None:
    left, right = users
    right.send(b"x")
    coroutine = receive(loop, left)
    assert run(loop, coroutine) == b"x"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_it_goes_on_only_when_its_future_is_done(loop: noria.Loop, users: Users) -> None:
    left, right = users

    async def main() -> None:
        coroutine = receive(loop, left)
        future = coroutine.send(None)
        assert coroutine.cr_await is future
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            coroutine.send(None)
        right.send(b"late")
        await asyncio.wait([future])
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
        assert stopped.value.value == b"late"
        assert coroutine.cr_await is None

    run(loop, main())


def test_a_value_cannot_be_sent_to_a_new_one(loop: noria.Loop, users: Users) -> None:
    coroutine: Any = receive(loop, users[0])
    with pytest.raises(TypeError, match="non-None value"):
        coroutine.send(1)
    coroutine.close()


@pytest.mark.parametrize("started", [False, True])
def test_what_is_thrown_in_comes_out(loop: noria.Loop, users: Users, started: bool) -> None:
    left, right = users

    async def main() -> bytes:
        coroutine = receive(loop, left)
        if started:
            coroutine.send(None)
        for thrown in (ZeroDivisionError("x"), ZeroDivisionError):
            with pytest.raises(ZeroDivisionError):
                coroutine.throw(thrown)
        right.send(b"kept")
        data: bytes = await loop.sock_recv(left, 100)  # nobody else waits for it
        return data

    assert run(loop, main()) == b"kept"


def test_one_that_is_forgotten_while_it_waits_takes_nothing(loop: noria.Loop, users: Users) -> None:
    left, right = users

    async def main() -> bytes:
        coroutine = receive(loop, left)
        coroutine.send(None)
        del coroutine
        gc.collect()
        right.send(b"kept")
        data: bytes = await loop.sock_recv(left, 100)
        return data

    assert run(loop, main()) == b"kept"


@pytest.mark.parametrize("size", ["7", None, 1.5])
def test_wrong_arguments_are_refused_when_it_is_awaited(
    loop: noria.Loop, users: Users, size: Any
) -> None:
    coroutine = loop.sock_recv(users[0], size)
    with pytest.raises(TypeError):
        run(loop, coroutine)


def test_a_closed_socket_is_refused_when_it_is_awaited(loop: noria.Loop, users: Users) -> None:
    left, _ = users
    coroutine = receive(loop, left)
    left.close()
    with pytest.raises(OSError, match="closed") as refused:
        run(loop, coroutine)
    assert refused.value.errno == errno.EBADF


def test_receives_that_found_nothing_begin_by_waiting(
    loop: noria.Loop, users: Users, attempts: list[int]
) -> None:
    left, right = users

    async def exchange() -> list[int]:
        attempts.clear()
        task = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        right.send(b"data")
        assert await task == b"data"
        return [*attempts]

    async def main() -> None:
        for _ in range(VAIN_RECEIVES_MIN):
            assert await exchange() == [-errno.EAGAIN, 4]
        waited = [await exchange() for _ in range(VAIN_RECEIVES_MAX)]
        assert waited.count([4]) >= VAIN_RECEIVES_MAX - VAIN_RECEIVES_MIN
        assert waited.count([-errno.EAGAIN, 4]) == VAIN_RECEIVES_MAX - waited.count([4])
        assert [-errno.EAGAIN, 4] in waited, "an attempt is made now and then"

    run(loop, main())


def test_one_that_finds_something_is_tried_at_once_again(
    loop: noria.Loop, users: Users, attempts: list[int]
) -> None:
    left, right = users

    async def main() -> None:
        for _ in range(VAIN_RECEIVES_MIN):
            task = asyncio.ensure_future(loop.sock_recv(left, 100))
            await asyncio.sleep(0)
            right.send(b"data")
            await task
        for _ in range(VAIN_RECEIVES_MAX):
            right.send(b"more")
            assert await loop.sock_recv(left, 100) == b"more"
        attempts.clear()
        right.send(b"more")
        coroutine = loop.sock_recv(left, 100)
        with pytest.raises(StopIteration):
            coroutine.send(None)

    run(loop, main())


def test_the_hint_belongs_to_one_socket(loop: noria.Loop) -> None:
    """Another socket with the same number is tried at once."""

    async def main() -> None:
        left, right = socket.socketpair()
        with right:
            with left:
                left.setblocking(False)
                for _ in range(VAIN_RECEIVES_MIN + 1):
                    task = asyncio.ensure_future(loop.sock_recv(left, 100))
                    await asyncio.sleep(0)
                    right.send(b"data")
                    await task
                number = left.fileno()
            fresh, other = socket.socketpair()
            with fresh, other:
                assert number in (fresh.fileno(), other.fileno())
                same = fresh if fresh.fileno() == number else other
                same.setblocking(False)
                (other if same is fresh else fresh).send(b"x")
                coroutine = loop.sock_recv(same, 100)
                with pytest.raises(StopIteration) as stopped:
                    coroutine.send(None)
                assert stopped.value.value == b"x"

    run(loop, main())
