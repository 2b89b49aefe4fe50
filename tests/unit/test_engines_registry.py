"""The registry: names, the choice between engines, and errors that say what to do."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from noria.engines import registry
from noria.engines.interface import Engine, Probe
from noria.engines.registry import AUTOMATIC, ENGINES, VARIABLE, choose, engine_class, explain
from noria.errors import EngineUnavailableError, NoriaError
from tests.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable


def absent(name: str) -> type[Engine]:
    """A class of an engine that cannot run."""

    class Absent(Engine):
        @classmethod
        def probe(cls) -> Probe:
            return Probe(False, f"no {name} in this test")

    return Absent


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def remove(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes engines unavailable."""

    def make(*names: str) -> None:
        monkeypatch.setattr(
            registry,
            "engine_class",
            lambda name: absent(name) if name in names else engine_class(name),
        )

    return make


@pytest.mark.parametrize("name", ENGINES)
def test_a_name_is_one_word_everywhere(name: str) -> None:
    """Registry, class, module and page of an engine have the same name."""
    cls = engine_class(name)
    assert cls.name == name
    module = name.removesuffix("-et")
    assert importlib.import_module(f"noria.engines.{module}").__doc__
    assert ENGINES[name][0] == f"noria.engines.{module}"
    assert (ROOT / "docs" / "engines" / f"{module}.md").exists()


def test_every_engine_explains_itself() -> None:
    probes = dict(explain())
    assert list(probes) == list(ENGINES)
    assert all(probe.reason for probe in probes.values())
    assert probes["select"].available, "select is everywhere"


def test_the_automatic_order_names_engines() -> None:
    assert set(AUTOMATIC) <= set(ENGINES)
    assert AUTOMATIC[-1] == "select"


@pytest.mark.parametrize("name", [None, "auto"])
def test_the_best_available_one_is_taken(name: str | None) -> None:
    best = next(each for each in AUTOMATIC if engine_class(each).probe().available)
    choice = choose(name)
    assert choice.name == best
    assert choice.engine_class is engine_class(best)
    assert choice.reason.startswith("best available: ")


def test_the_reason_tells_what_was_passed_over(remove: Callable[..., None]) -> None:
    remove("uring", "epoll", "kqueue", "poll")
    choice = choose()
    assert choice.name == "select"
    assert choice.reason == (
        "best available: select works everywhere; uring: no uring in this test; "
        "epoll: no epoll in this test; kqueue: no kqueue in this test; poll: no poll in this test"
    )


def test_no_engine_at_all(remove: Callable[..., None]) -> None:
    remove(*ENGINES)
    with pytest.raises(EngineUnavailableError, match="no engine can run here: uring: no uring"):
        choose()


def test_the_program_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nonsense")
    assert choose("select").reason == "asked for by the program"


@pytest.mark.parametrize("name", [None, "auto"])
def test_the_variable_decides_otherwise(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setenv(VARIABLE, "select")
    choice = choose(name)
    assert (choice.name, choice.reason) == ("select", "asked for by NORIA_ENGINE")


@pytest.mark.parametrize("value", ["", "auto"])
def test_a_variable_that_leaves_it_open(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert choose().reason.startswith("best available")


@pytest.mark.parametrize("source", ["the program", VARIABLE])
def test_an_unknown_name_lists_what_there_is(
    monkeypatch: pytest.MonkeyPatch, remove: Callable[..., None], source: str
) -> None:
    remove("kqueue")
    if source == VARIABLE:
        monkeypatch.setenv(VARIABLE, "hope")
    with pytest.raises(EngineUnavailableError) as caught:
        choose(None if source == VARIABLE else "hope")
    message = str(caught.value)
    assert message.startswith(f"unknown engine 'hope' (asked for by {source}); available: ")
    assert "select" in message
    assert "; not available: " in message
    assert "kqueue: no kqueue in this test" in message
    assert isinstance(caught.value, (NoriaError, RuntimeError))


def test_an_unavailable_name_says_why(remove: Callable[..., None]) -> None:
    remove("poll", "kqueue")
    with pytest.raises(EngineUnavailableError) as caught:
        choose("poll")
    message = str(caught.value)
    assert message.startswith(
        "engine 'poll' (asked for by the program) cannot run here: no poll in this test; available:"
    )
    assert "kqueue: no kqueue in this test" in message


def test_an_unknown_class_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        engine_class("hope")
