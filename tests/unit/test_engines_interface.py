"""The interface: what a base class leaves open, refusals, and what cannot be watched."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from noria.core import codes
from noria.core.completion import Completions
from noria.core.operation import Operation
from noria.engines.example import ExampleEngine, ExamplePoller
from noria.engines.interface import (
    HANGUP,
    READABLE,
    STOPS_SHORT,
    WRITABLE,
    Engine,
    NewsSink,
    Poller,
    refuse,
    unwatchable,
)
from noria.errors import EngineClosedError, ForkedEngineError

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS: dict[str, Callable[[Engine], Any]] = {
    "probe": lambda engine: engine.probe(),
    "submit": lambda engine: engine.submit(Operation(codes.SEND)),
    "cancel": lambda engine: engine.cancel(Operation(codes.SEND)),
    "poll": lambda engine: engine.poll(0, Completions()),
    "wake": lambda engine: engine.wake(),
    "forget": lambda engine: engine.forget(1),
    "owned": lambda engine: engine.owned(1),
    "statistics": lambda engine: engine.statistics(),
    "close": lambda engine: engine.close(Completions()),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_engine_has_to_supply(name: str) -> None:
    with pytest.raises(NotImplementedError):
        CALLS[name](Engine())


def test_what_an_engine_need_not_supply() -> None:
    engine = Engine()
    assert (engine.fileno(), engine.signal_fileno(), engine.take_signals()) == (-1, -1, b"")
    assert not any((engine.closed, engine.forked, engine.signalled))
    assert engine.try_send(1, None, b"x", 0) == -errno.EAGAIN


def test_a_poller_has_to_supply() -> None:
    poller = Poller()
    assert not poller.edge
    assert poller.fileno() == -1
    for call in (
        lambda: poller.modify(0, 0, 1, False),
        lambda: poller.wait(0, NewsSink()),
        poller.close,
        lambda: NewsSink().news(0, 0),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_the_kinds_of_news_are_bits() -> None:
    assert [READABLE, WRITABLE, HANGUP, STOPS_SHORT] == [1, 2, 4, 8]


def test_refusals_name_the_engine_and_the_next_step() -> None:
    class Named(Engine):
        name = "wheel"

    engine = Named()
    engine.forked = True
    assert isinstance(refuse(engine), ForkedEngineError)
    assert "has to make its own event loop" in str(refuse(engine))
    engine.closed = True
    assert isinstance(refuse(engine), EngineClosedError)
    assert str(refuse(engine)) == "the wheel engine is closed"


@pytest.mark.posix
def test_what_cannot_be_watched() -> None:
    with tempfile.TemporaryFile() as file, socket.socket() as sock:
        assert unwatchable(file.fileno()) == -errno.EPERM
        assert unwatchable(sock.fileno()) == 0
        closed = os.dup(file.fileno())
    os.close(closed)
    assert unwatchable(closed) == -errno.EBADF
    folder = os.open(tempfile.gettempdir(), os.O_RDONLY)
    assert unwatchable(folder) == -errno.EPERM
    os.close(folder)
    reading, writing = os.pipe()
    assert unwatchable(reading) == unwatchable(writing) == 0
    os.close(reading)
    os.close(writing)


def test_the_skeleton_is_an_engine() -> None:
    """What people copy works as far as it goes, and never claims to."""
    assert not ExampleEngine.probe().available
    engine = ExampleEngine()
    assert engine.poll(0, Completions()) == 0
    engine.close(Completions())
    poller = ExamplePoller()
    assert poller.modify(5, 0, READABLE, False) == 0
    assert poller.modify(5, READABLE, 0, False) == 0
    assert poller.wait(0, NewsSink()) == 0
    poller.close()
    poller.close()
