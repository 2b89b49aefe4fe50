"""D1-D3: one owner, closed once, never under somebody's hands, never a stranger's file."""

from __future__ import annotations

import errno
import gc
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from noria.core.descriptor import Descriptor, number_of, open_count
from tests.loops import WINE

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    before = open_count()
    left, right = socket.socketpair()
    right.settimeout(5)
    yield left, right
    left.close()
    right.close()
    assert open_count() == before, "the ledger of descriptors does not balance"


Pair = tuple[socket.socket, socket.socket]


def is_open(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    except OSError:
        return False
    return True


def test_d1_close_closes_once(pair: Pair) -> None:
    left, right = pair
    owner = Descriptor(left.detach())
    number = owner.fd
    assert not owner.closed
    assert owner.close()
    assert owner.closed
    assert owner.fd == -1
    assert right.recv(1) == b""
    again = socket.socket()  # may well get the same number
    assert owner.close(), "a second close does nothing"
    assert is_open(again), f"a stranger's file was closed under the number {number}"
    again.close()


def test_d2_close_waits_for_the_last_lease(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    owner.lease()
    owner.lease()
    calls: list[str] = []
    assert not owner.close(lambda: calls.append("free"))
    assert owner.closing
    assert not owner.closed
    owner.release()
    assert is_open(left)
    owner.release()
    assert owner.closed
    assert calls == ["free"]
    assert left.fileno() == -1


def test_d2_closing_gives_no_lease(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    owner.lease()
    owner.close()
    with pytest.raises(OSError, match=rf"descriptor {owner.fd} \(generation") as caught:
        owner.lease()
    assert caught.value.errno == errno.EBADF
    assert owner.leases == 1
    owner.release()
    with pytest.raises(OSError, match="closing"):
        owner.lease()


def test_a_lease_is_returned_once(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    with pytest.raises(AssertionError, match="returned twice"):
        owner.release()
    owner.close()


def test_on_closed_is_called_at_once_when_free(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    calls: list[int] = []
    owner.close(lambda: calls.append(1))
    owner.close(lambda: calls.append(2))
    assert calls == [1, 2]


def test_d3_a_passed_socket_is_closed_through_the_object(pair: Pair) -> None:
    """Whoever else holds the object sees it closed."""
    left, right = pair
    owner = Descriptor(left.fileno(), left)
    assert owner.sock is left
    owner.close()
    assert left.fileno() == -1
    assert right.recv(1) == b""


def test_d3_a_socket_closed_by_its_user_is_not_closed_again(pair: Pair) -> None:
    left, _ = pair
    number = left.fileno()
    owner = Descriptor(number, left)
    left.close()
    stranger = socket.socket()
    owner.close()
    assert is_open(stranger)
    stranger.close()


def test_the_socket_object_is_made_on_demand(pair: Pair) -> None:
    left, right = pair
    owner = Descriptor(left.detach())
    sock = owner.sock
    assert owner.sock is sock
    assert sock.fileno() == owner.fd
    sock.send(b"x")
    assert right.recv(1) == b"x"
    owner.close()
    assert sock.fileno() == -1
    with pytest.raises(OSError, match="closed") as caught:
        owner.sock  # noqa: B018 - a property that raises
    assert caught.value.errno == errno.EBADF


def test_what_is_no_socket_has_no_socket_object() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    owner = Descriptor(reading)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
        owner.sock  # noqa: B018
    assert caught.value.errno == errno.ENOTSOCK or (WINE and caught.value.errno == errno.EOPNOTSUPP)
    owner.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(reading, 1)


@pytest.mark.parametrize("with_object", ["none", "passed", "made"])
def test_detach_gives_the_number_away(pair: Pair, with_object: str) -> None:
    left, right = pair
    if with_object == "passed":
        owner = Descriptor(left.fileno(), left)
    else:
        owner = Descriptor(left.detach())
    if with_object == "made":
        assert owner.sock.fileno() == owner.fd
    number = owner.detach()
    assert owner.closed
    assert owner.close()
    del owner
    gc.collect()
    with socket.socket(fileno=number) as mine:
        mine.send(b"still open")
        assert right.recv(100) == b"still open"


def test_detach_of_a_leased_descriptor_is_refused(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    owner.lease()
    with pytest.raises(RuntimeError, match="in use"):
        owner.detach()
    owner.release()
    owner.close()
    assert owner.detach() == -1


def test_a_closed_file_cannot_be_owned() -> None:
    before = open_count()
    with pytest.raises(ValueError, match="open file, not -1"):
        Descriptor(-1)
    assert open_count() == before


def test_an_error_of_close_is_told_and_the_number_is_gone(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.detach())
    stranger = socket.socket(fileno=owner.fd)
    stranger.close()
    calls: list[int] = []
    with pytest.raises(OSError) as caught:  # noqa: PT011
        owner.close(lambda: calls.append(1))
    assert caught.value.errno == errno.EBADF
    assert owner.closed
    assert calls == [1]


def test_generations_are_never_used_twice(pair: Pair) -> None:
    left, right = pair
    owners = [Descriptor(sock.fileno(), sock) for sock in (left, right)]
    assert owners[0].generation < owners[1].generation
    for owner in owners:
        owner.close()
    assert len({owner.generation for owner in owners}) == 2


def test_the_count_of_open_descriptors(pair: Pair) -> None:
    left, right = pair
    before = open_count()
    one = Descriptor(left.fileno(), left)
    two = Descriptor(right.fileno(), right)
    assert open_count() == before + 2
    two.lease()
    two.close()
    assert open_count() == before + 2, "a deferred close is not done"
    two.release()
    one.detach()
    assert open_count() == before


def test_repr_names_state_and_generation(pair: Pair) -> None:
    left, _ = pair
    owner = Descriptor(left.fileno(), left)
    text = f"<Descriptor fd={owner.fd} generation={owner.generation} leases=0 open>"
    assert repr(owner) == text
    owner.lease()
    owner.close()
    assert repr(owner).endswith("leases=1 closing>")
    owner.release()
    assert repr(owner).endswith("closed>")


class Pretender:
    """Has a `fileno` of its own."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        return self.number


def test_number_of_things(pair: Pair) -> None:
    left, _ = pair
    assert number_of(left) == left.fileno()
    assert number_of(5) == 5
    assert number_of(Pretender(7)) == 7


@pytest.mark.parametrize("wrong", ["text", None, Pretender(None), Pretender("x"), object()])
def test_number_of_what_has_none(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Invalid file object"):
        number_of(wrong)


@pytest.mark.parametrize("wrong", [-1, Pretender(-1)])
def test_number_of_what_is_closed(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        number_of(wrong)
