"""D3: watches of sockets that their user has closed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.conformance.test_loop_watch import same_number
from tests.loops import run_turns

if TYPE_CHECKING:
    import asyncio

    from tests.loops import Users


def test_d3_a_watch_of_a_closed_socket_is_removed_by_the_object(
    both: asyncio.AbstractEventLoop, users: Users
) -> None:
    """A socket that is closed has no number any more; the watch knows whose it is."""
    left, right = users
    seen: list[int] = []
    both.add_reader(left, seen.append, 1)
    run_turns(both, 2)
    left.close()
    assert both.remove_reader(left) is True
    for remove in (both.remove_reader, both.remove_writer):
        files: tuple[Any, ...] = (left, object())
        for file in files:
            with pytest.raises(ValueError, match="Invalid file"):
                remove(file)
    both.add_writer(right, seen.append, 1)
    right.close()
    with pytest.raises(ValueError, match="Invalid file"):
        both.remove_writer(left)
    assert both.remove_writer(right) is True
    run_turns(both, 3)
    assert not seen


def test_d3_both_watches_of_a_closed_socket_are_removed(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    """Not held against asyncio: its epoll complains of the number, and forgets half of it."""
    left, _ = users
    seen: list[int] = []
    loop.add_reader(left, seen.append, 1)
    loop.add_writer(left.fileno(), seen.append, 1)
    left.close()
    assert loop.remove_writer(left) is True
    assert loop.remove_writer(left) is False
    assert loop.remove_reader(left) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(left)
    run_turns(loop, 3)
    assert not seen


@pytest.mark.posix
def test_d3_removing_a_closed_socket_leaves_who_has_the_number_now(
    loop: asyncio.AbstractEventLoop, users: Users
) -> None:
    left, _ = users
    number = left.fileno()
    loop.add_reader(left, print)
    run_turns(loop, 2)
    left.close()
    fresh, far = socket.socketpair()
    with far, same_number(fresh, number) as fresh:
        calls: list[int] = []
        loop.add_reader(fresh, calls.append, 1)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            loop.remove_reader(left)  # whose watch has been replaced
        far.send(b"x")
        run_turns(loop, 3)
        assert calls
        assert loop.remove_reader(fresh) is True
