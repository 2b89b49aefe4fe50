"""Rings that cannot be made, or not any more: who is told, and what runs instead."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

import pytest

import noria
from noria.engines import registry, uring, uring_probe
from noria.errors import EngineUnavailableError
from tests.rings import needs_uring, refused

if TYPE_CHECKING:
    from noria.native.ring import Ring
    from tests.ledger import Ledger

pytestmark = needs_uring


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is found available, chosen automatically, and what is ruled out is put back."""
    uring.UringEngine.probe()
    monkeypatch.setattr(uring_probe, "_known", uring_probe._known)
    monkeypatch.setattr(registry, "AUTOMATIC", ("uring", "epoll"))
    monkeypatch.delenv(registry.VARIABLE, raising=False)


def refuse_rings(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse() -> Ring:
        raise refused(number)

    monkeypatch.setattr(uring, "make_ring", refuse)


ALL = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.ENOSYS, errno.EINVAL)


@pytest.mark.parametrize("number", ALL)
def test_a_ring_asked_for_by_name_is_not_replaced(
    known: None, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_rings(monkeypatch, number)
    with pytest.raises(OSError, match=refused(number).strerror) as caught:
        noria.new_event_loop("uring")
    assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_a_lack_of_something_is_raised(
    known: None, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It may pass, and another engine might want as much."""
    with monkeypatch.context() as patch:
        refuse_rings(patch, number)
        with pytest.raises(OSError, match=refused(number).strerror):
            noria.new_event_loop()
    assert uring.UringEngine.probe().available
    made = noria.new_event_loop()
    assert made.engine == "uring"
    made.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EINVAL])
def test_what_is_forbidden_meanwhile_is_passed_over(
    known: None, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_rings(monkeypatch, number)
    for _ in range(2):
        made = noria.new_event_loop()
        assert made.engine == "epoll"
        made.close()
    assert not uring.UringEngine.probe().available
    assert "uring: " in registry.choose().reason
    with pytest.raises(EngineUnavailableError, match="'uring'"):
        noria.new_event_loop("uring")


def test_real_descriptors_run_out(known: None, ledger: Ledger) -> None:
    """Whichever descriptor is the first that is missing: an error, and nothing stays open."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = socket.socket()
    lowest = spare.fileno()
    spare.close()
    failures: list[int | None] = []
    try:
        for more in range(8):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, before[1]))
            try:
                made = noria.new_event_loop("uring")
            except OSError as exc:
                failures.append(exc.errno)
            else:
                made.run_until_complete(asyncio.sleep(0))
                made.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(failures) >= 2
    assert set(failures) == {errno.EMFILE}
