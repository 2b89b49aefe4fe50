"""Every public method takes every parameter of the installed asyncio, with its kind and default."""

from __future__ import annotations

import asyncio
import inspect
import sys
from asyncio import selector_events
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.loop import handles
from noria.servers.server import Server
from noria.transports.datagram import DatagramTransport
from noria.transports.stream import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable

_SocketTransport: type = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

PAIRS: dict[str, tuple[Any, Any]] = {
    # Not AbstractEventLoop, which asyncio's own loops contradict here and there.
    "loop": (asyncio.SelectorEventLoop, noria.Loop),
    "AbstractServer": (asyncio.AbstractServer, Server),
    "Server": (asyncio.Server, Server),
    "Transport": (asyncio.Transport, StreamTransport),
    "SocketTransport": (_SocketTransport, StreamTransport),
    "DatagramTransport": (asyncio.DatagramTransport, DatagramTransport),
    "Handle": (asyncio.Handle, handles.Handle),
    "TimerHandle": (asyncio.TimerHandle, handles.TimerHandle),
    "Runner": (asyncio.Runner, noria.Runner),
}


def methods(of: type, *special: str) -> list[str]:
    """The public methods of a class, and some special ones."""
    names = [name for name in dir(of) if not name.startswith("_") or name in special]
    return [name for name in names if callable(getattr(of, name))]


CASES = [
    (pair, name)
    for pair, (theirs, _) in PAIRS.items()
    for name in methods(theirs, *(["__init__"] if pair == "Runner" else []))
]


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def differences(theirs: Callable[..., Any], ours: Callable[..., Any]) -> list[str]:
    """What a caller of their function could not do with ours."""
    found = []
    own = {parameter.name: parameter for parameter in parameters(ours)}
    kinds = {parameter.kind for parameter in own.values()}
    order = [parameter.name for parameter in own.values() if parameter.kind in POSITIONAL]
    wanted_order = []
    for wanted in parameters(theirs):
        if wanted.kind in (wanted.VAR_POSITIONAL, wanted.VAR_KEYWORD):
            if wanted.kind not in kinds:
                found.append(f"no {wanted}")
            continue
        if wanted.kind in POSITIONAL:
            wanted_order.append(wanted.name)
        have = own.get(wanted.name)
        if have is None:
            found.append(f"no parameter {wanted}")
        elif have.kind is not wanted.kind:
            found.append(f"{wanted.name} is {have.kind.description}, not {wanted.kind.description}")
        elif have.default != wanted.default:
            found.append(f"{wanted.name} is {have.default!r} by default, not {wanted.default!r}")
    if order[: len(wanted_order)] != wanted_order:
        found.append(f"the order is {order}, not {wanted_order}")
    known = {parameter.name for parameter in parameters(theirs)}
    found += [
        f"{name} is required"
        for name, parameter in own.items()
        if name not in known
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return found


@pytest.mark.parametrize(("pair", "name"), CASES, ids=[".".join(case) for case in CASES])
def test_method_takes_what_asyncios_takes(pair: str, name: str) -> None:
    theirs, ours = PAIRS[pair]
    assert hasattr(ours, name)
    assert not differences(getattr(theirs, name), getattr(ours, name))


def test_run_takes_what_asyncios_takes() -> None:
    assert not differences(asyncio.run, noria.run)


@pytest.mark.parametrize("name", methods(asyncio.AbstractEventLoop))
def test_loop_has_a_method_of_its_own(name: str) -> None:
    assert getattr(noria.Loop, name) is not getattr(asyncio.AbstractEventLoop, name)


@pytest.mark.parametrize("name", methods(asyncio.AbstractEventLoop))
def test_coroutine_methods_are_coroutine_methods(name: str) -> None:
    theirs = getattr(asyncio.SelectorEventLoop, name)
    if getattr(asyncio.AbstractEventLoop, name) is not theirs:
        # Before 3.12 inspect cannot be told that a function gives a coroutine; asyncio can.
        tells = asyncio if sys.version_info < (3, 12) else inspect
        expected = tells.iscoroutinefunction(theirs)
        assert tells.iscoroutinefunction(getattr(noria.Loop, name)) is expected


NAMES = sorted(
    {
        name
        for of in (asyncio.AbstractEventLoop, asyncio.BaseEventLoop, asyncio.SelectorEventLoop)
        for name in dir(of)
        if not name.startswith("_")
    }
)
"""Every public name of asyncio's loops, as this version has them."""


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(noria.Loop, name)
    home = inspect.unwrap(found).__module__
    assert home != "asyncio.events", "the abstract one raises NotImplementedError"
    assert found.__doc__, "users look it up"


def test_no_other_public_name_is_there() -> None:
    """What noria adds to asyncio's loops is little, and each has its docstring."""
    own = {name for name in dir(noria.Loop) if not name.startswith("_")} - set(NAMES)
    own -= {"slow_callback_duration"}  # of the instance in asyncio, of the class when compiled
    assert own == {"cancel_operation", "engine", "forget", "submit", "submit_operation"}
    assert all(getattr(noria.Loop, name).__doc__ for name in own)


def test_loop_has_asyncios_public_attributes(loop: noria.Loop) -> None:
    reference = asyncio.SelectorEventLoop()
    try:
        attributes = {name for name in vars(reference) if not name.startswith("_")}
        assert attributes == {"slow_callback_duration"}
        for name in attributes:
            assert getattr(loop, name) == getattr(reference, name)
    finally:
        reference.close()
    loop.slow_callback_duration = 0.5
    assert loop.slow_callback_duration == 0.5


@pytest.mark.parametrize("name", methods(_SocketTransport))
def test_documented_methods_of_transports(name: str) -> None:
    """Also those that only the transports of asyncio's loops have."""
    assert getattr(StreamTransport, name).__doc__


def model(a: int, b: int = 1, *rest: int, c: int = 2, **more: int) -> None:
    """What the following functions are compared with."""


def same(a: int, b: int = 1, *rest: int, c: int = 2, d: int = 3, **more: int) -> None:
    pass


def lacking(a: int, *rest: int, **more: int) -> None:
    pass


def ordered(b: int, a: int = 1, *rest: int, c: int = 2, **more: int) -> None:
    pass


def valued(a: int, b: int = 2, *rest: int, c: int = 3, **more: int) -> None:
    pass


def kind(a: int, *, b: int = 1, c: int = 2, **more: int) -> None:
    pass


def demanding(a: int, b: int = 1, *rest: int, c: int = 2, d: int, **more: int) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "complaints"),
    [
        (same, []),
        (lacking, ["no parameter b: int = 1", "no parameter c: int = 2", "the order is"]),
        (ordered, ["a is 1 by default", "b is <class", "the order is"]),
        (valued, ["b is 2 by default", "c is 3 by default"]),
        (kind, ["b is keyword-only", "no *rest", "the order is"]),
        (demanding, ["d is required"]),
    ],
)
def test_every_difference_is_found(function: Callable[..., Any], complaints: list[str]) -> None:
    found = differences(model, function)
    assert len(found) == len(complaints), found
    for difference, complaint in zip(found, complaints, strict=True):
        assert difference.replace("'", "").startswith(complaint), found
