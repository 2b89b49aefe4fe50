"""The smaller native modules: clock, queue and calls, on both twins."""

from __future__ import annotations

import contextvars
import errno
import gc
import math
import os
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

each_clock = pytest.mark.parametrize("clock", twins("clock"), ids=build_of)
each_queue = pytest.mark.parametrize("module", twins("queue"), ids=build_of)
each_watches = pytest.mark.parametrize("watches", twins("watches"), ids=build_of)
each_calls = pytest.mark.parametrize("calls", twins("calls"), ids=build_of)


@each_clock
def test_the_clock_is_monotonic(clock: ModuleType) -> None:
    before = time.monotonic_ns()
    assert before <= clock.monotonic_ns() <= time.monotonic_ns()


@given(st.floats(-1e10, 1e10))
def test_the_twins_agree_about_deadlines(when: float) -> None:
    assert len({clock.deadline_ns(when) for clock in twins("clock")}) == 1


@pytest.mark.parametrize(
    "when", [math.inf, -math.inf, 1e300, -1e300, 9.3e9, -9.3e9, 9.2e9, 0.0, -0.0]
)
def test_the_twins_agree_about_extremes(when: float) -> None:
    assert len({clock.deadline_ns(when) for clock in twins("clock")}) == 1


@each_clock
def test_what_is_no_number_is_never(clock: ModuleType) -> None:
    assert clock.deadline_ns(math.nan) == 2**63 - 1


@each_queue
def test_first_in_first_out(module: ModuleType) -> None:
    queue = module.Queue()
    assert (len(queue), queue.size()) == (0, 0)
    for number in range(1000):
        queue.append(number)
    assert (len(queue), queue.size()) == (1000, 1000)
    assert [queue.popleft() for _ in range(1000)] == list(range(1000))
    with pytest.raises(IndexError):
        queue.popleft()
    assert queue.size() == 0


@given(st.lists(st.one_of(st.integers(), st.none(), st.just("clear")), max_size=400))
@each_queue
def test_a_queue_is_a_deque(module: ModuleType, steps: list[Any]) -> None:
    """Numbers are appended, None takes one; the ring grows and wraps on the way."""
    queue = module.Queue()
    model: deque[int] = deque()
    for step in steps:
        if step == "clear":
            queue.clear()
            model.clear()
        elif step is not None:
            queue.append(step)
            model.append(step)
        elif model:
            assert queue.popleft() == model.popleft()
        assert queue.size() == len(model)
    assert [queue.popleft() for _ in range(queue.size())] == list(model)


class Item:
    """Can be watched dying, and can act while it does."""

    def __init__(self, last_words: Any = None) -> None:
        self.last_words = last_words

    def __del__(self) -> None:
        if self.last_words is not None:
            self.last_words()


@each_queue
def test_what_was_taken_is_not_kept(module: ModuleType) -> None:
    queue = module.Queue()
    item = Item()
    ghost = weakref.ref(item)
    queue.append(item)
    del item
    assert queue.popleft() is not None
    assert ghost() is None


@each_queue
def test_clearing_frees_the_items(module: ModuleType) -> None:
    queue = module.Queue()
    ghosts = []
    for _ in range(100):
        item = Item()
        ghosts.append(weakref.ref(item))
        queue.append(item)
    del item
    queue.clear()
    assert not any(ghost() for ghost in ghosts)
    queue.append(1)
    assert queue.popleft() == 1


@each_queue
def test_items_that_append_while_they_die(module: ModuleType) -> None:
    queue = module.Queue()
    for number in range(70):
        queue.append(Item(lambda number=number: queue.append(number)))
    queue.clear()
    assert sorted(queue.popleft() for _ in range(queue.size())) == list(range(70))


@each_queue
@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_collector_may_append_while_the_queue_grows(module: ModuleType, size: int) -> None:
    """Asynchronous generators do when they are collected; before Python 3.12 at any allocation."""
    queue = module.Queue()
    late: list[int] = []

    class Cycle:
        def __init__(self, number: int) -> None:
            self.me = self
            self.number = number

        def __del__(self) -> None:
            queue.append(-self.number)
            late.append(-self.number)

    for number in range(10):
        queue.append(number)
    for number in range(10):
        assert queue.popleft() == number  # the ring does not begin at its first place
    for number in range(size):
        queue.append(number)
    before = gc.get_threshold()
    gc.disable()
    for number in range(1, 4):
        Cycle(number)
    lists: list[list[int]] = [[] for _ in range(200)]  # the interpreter has none in reserve
    gc.set_threshold(1, 1, 1)
    gc.enable()
    queue.append(size)
    gc.set_threshold(*before)
    gc.collect()
    assert sorted(late) == [-3, -2, -1]
    assert len(lists) == 200
    items = [queue.popleft() for _ in range(queue.size())]
    assert [item for item in items if item >= 0] == list(range(size + 1))
    assert sorted(item for item in items if item < 0) == [-3, -2, -1]


@each_queue
def test_many_threads_append(module: ModuleType) -> None:
    queue = module.Queue()
    taken: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for item in range(2000):
            queue.append((number, item))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(taken) < 8000:
        if queue.size():
            taken.append(queue.popleft())
        else:
            time.sleep(0)
    for thread in threads:
        thread.join()
    for number in range(4):
        mine = [item for owner, item in taken if owner == number]
        assert mine == list(range(2000))


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


def look(*args: Any) -> tuple[Any, ...]:
    return (variable.get(), *args)


@pytest.fixture
def context() -> contextvars.Context:
    made = contextvars.copy_context()
    made.run(variable.set, "inside")
    return made


@each_calls
def test_l5_calls_run_inside_the_context(calls: ModuleType, context: contextvars.Context) -> None:
    assert calls.call_in_context(context, look, ()) == ("inside",)
    assert calls.call_in_context(context, look, (1, 2)) == ("inside", 1, 2)
    assert calls.call_one_in_context(context, look, 3) == ("inside", 3)
    assert variable.get() == "outside"


@each_calls
def test_l5_what_a_call_sets_stays_in_the_context(
    calls: ModuleType, context: contextvars.Context
) -> None:
    calls.call_one_in_context(context, variable.set, "changed")
    assert context[variable] == "changed"
    assert variable.get() == "outside"


class Owner:
    def method(self, argument: Any) -> tuple[Any, ...]:
        return (variable.get(), argument)


@each_calls
def test_l5_a_method_is_looked_up_and_called(
    calls: ModuleType, context: contextvars.Context
) -> None:
    owner: Any = Owner()
    assert calls.call_method_in_context(context, owner, "method", 5) == ("inside", 5)
    owner.method = lambda argument: ("own", argument)
    assert calls.call_method_in_context(context, owner, "method", 6) == ("own", 6)
    with pytest.raises(AttributeError):
        calls.call_method_in_context(context, owner, "missing", 7)
    assert calls.call_method_in_context(context, owner, "method", 8) == ("own", 8)


def fail(*_: Any) -> None:
    raise LookupError("on purpose")


@each_calls
@pytest.mark.parametrize("how", ["call_in_context", "call_one_in_context"])
def test_an_exception_leaves_the_context(
    calls: ModuleType, context: contextvars.Context, how: str
) -> None:
    for _ in range(3):
        with pytest.raises(LookupError, match="on purpose"):
            getattr(calls, how)(context, fail, ())
    assert variable.get() == "outside"
    assert context.run(variable.get) == "inside"


@each_calls
def test_l5_trying_gives_the_exception(calls: ModuleType, context: contextvars.Context) -> None:
    """For the callbacks of users: whatever they raise is a value, and the context is left."""
    assert calls.try_in_context(context, look, (1,)) is None
    seen: list[tuple[Any, ...]] = []
    assert calls.try_in_context(context, lambda *args: seen.append(look(*args)), (1, 2)) is None
    assert seen == [("inside", 1, 2)]
    for kind in (LookupError, KeyboardInterrupt, SystemExit, GeneratorExit):

        def fail_with(wanted: type[BaseException] = kind) -> None:
            raise wanted("on purpose")

        exc = calls.try_in_context(context, fail_with, ())
        assert type(exc) is kind
        assert exc.args == ("on purpose",)
        assert exc.__traceback__ is not None
        assert exc.__traceback__.tb_frame.f_code.co_name in {"fail_with", "try_in_context"}
    assert variable.get() == "outside"


@each_calls
def test_l5_trying_a_method(calls: ModuleType, context: contextvars.Context) -> None:
    owner: Any = Owner()
    seen: list[Any] = []
    owner.method = lambda argument: seen.append((variable.get(), argument))
    assert calls.try_method_in_context(context, owner, "method", 5) is None
    assert seen == [("inside", 5)]
    owner.method = fail
    assert type(calls.try_method_in_context(context, owner, "method", 5)) is LookupError
    assert type(calls.try_method_in_context(context, owner, "missing", 5)) is AttributeError
    assert calls.try_method_in_context(context, owner, "method", 5).__context__ is None


@each_calls
def test_trying_does_not_disturb_an_exception_at_work(
    calls: ModuleType, context: contextvars.Context
) -> None:
    try:
        raise ValueError("outer")
    except ValueError:
        exc = calls.try_in_context(context, fail, ())
    assert str(exc.__context__) == "outer", "as a raise inside an except block"
    assert sys.exc_info() == (None, None, None)


@each_calls
def test_calls_with_keywords(calls: ModuleType) -> None:
    assert calls.call_keywords(dict, ({"a": 0, "c": 3},), {"a": 1}) == {"a": 1, "c": 3}
    given = {"a": 1}
    with pytest.raises(TypeError):
        calls.call_keywords(look, (), given)
    assert given == {"a": 1}


def test_a_sole_reference_is_known_to_the_compiled_twin_only() -> None:
    for calls in twins("calls"):
        shared = Owner()
        other = shared
        assert not calls.is_sole(shared)
        assert other is shared
        watched = Owner()
        ghost = weakref.ref(watched)
        assert not calls.is_sole(watched)
        assert ghost() is watched


@each_calls
def test_a_context_is_entered_once(calls: ModuleType, context: contextvars.Context) -> None:
    """As `Context.run` refuses it; the outer call is not disturbed."""

    def nested() -> str:
        with pytest.raises(RuntimeError):
            calls.call_in_context(context, look, ())
        return variable.get()

    assert calls.call_in_context(context, nested, ()) == "inside"


@each_calls
def test_a_copy_of_the_context(calls: ModuleType) -> None:
    token = variable.set("mine")
    copied = calls.copy_context()
    variable.reset(token)
    assert copied[variable] == "mine"
    assert type(copied) is contextvars.Context


@each_calls
def test_pending_signals_are_looked_at(calls: ModuleType) -> None:
    assert not calls.check_signals()


@each_watches
def test_watches_of_the_system(watches: ModuleType, tmp_path: Path) -> None:
    fd = watches.watch_open()
    if build_of(watches) == "interpreted":
        assert fd == -errno.ENOSYS
        assert watches.watch_add(3, b"name", 2) == -errno.ENOSYS
        assert watches.watch_remove(3, 1) == -errno.ENOSYS
        return
    try:
        assert not os.get_inheritable(fd)
        assert not os.get_blocking(fd)
        watch = watches.watch_add(fd, os.fsencode(tmp_path), 0x100)
        assert watch > 0
        assert watches.watch_add(fd, os.fsencode(tmp_path), 0x300) == watch
        assert watches.watch_add(fd, os.fsencode(tmp_path / "missing"), 2) == -errno.ENOENT
        (tmp_path / "file").touch()
        assert b"file" in os.read(fd, 1000)
        assert watches.watch_remove(fd, watch) == 0
        assert watches.watch_remove(fd, watch) == -errno.EINVAL
    finally:
        os.close(fd)
    assert watches.watch_add(fd, b"name", 2) == -errno.EBADF


@each_watches
def test_a_name_of_a_watch_has_no_null_byte(watches: ModuleType) -> None:
    with pytest.raises(ValueError, match="embedded null byte"):
        watches.watch_add(0, b"na\0me", 2)
