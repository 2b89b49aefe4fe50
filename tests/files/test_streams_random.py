"""Random calls on the builtin `open` and on `noria.open` give the same results and files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import noria
from tests.files.oracle import Room, play_builtin, play_noria

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

CONTENT = b"".join(
    b"%d:" % n + b"\xc5\xbe" * (n % 7) + (b"\r\n", b"\n", b"\r")[n % 3] for n in range(60)
)

sizes = st.integers(-1, 90)
places = st.integers(0, 500)
data = st.binary(max_size=80)

reads = st.one_of(
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("readline"), sizes),
    st.tuples(st.just("readlines"), sizes),
    st.tuples(st.just("seek"), places),
    st.tuples(st.just("seek"), st.integers(-90, 90), st.just(1)),
    st.tuples(st.just("seek"), st.integers(-90, 90), st.just(2)),
    st.tuples(st.just("tell")),
    st.tuples(st.just("readinto"), st.builds(Room, st.integers(0, 90))),
)
writes = st.one_of(
    st.tuples(st.just("write"), data),
    st.tuples(st.just("writelines"), st.lists(data, max_size=3)),
    st.tuples(st.just("seek"), places),
    st.tuples(st.just("tell")),
    st.tuples(st.just("flush")),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("truncate"), places),
)


@st.composite
def updates(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Reads and writes with a move between them, which some versions of `io` need."""
    calls: list[tuple[Any, ...]] = []
    for part in draw(
        st.lists(st.one_of(st.lists(reads, max_size=4), st.lists(writes, max_size=4)))
    ):
        calls += [("seek", draw(places)), *part]
    return calls


def compare(
    options: dict[str, Any], calls: Sequence[tuple[Any, ...]], engine: str | None = None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        for path in (ours, theirs):
            path.write_bytes(CONTENT)
        expected = play_builtin(theirs, options, calls)
        found = noria.run(play_noria(ours, options, calls), engine=engine)
        assert found == expected
        assert ours.read_bytes() == theirs.read_bytes()


@FEW
@given(calls=st.lists(reads, max_size=12), buffering=st.sampled_from([-1, 0, 16]))
def test_reading(calls: list[tuple[Any, ...]], buffering: int) -> None:
    compare({"mode": "rb", "buffering": buffering}, calls)


@FEW
@given(
    calls=st.lists(writes, max_size=12),
    mode=st.sampled_from(["wb", "r+b", "ab"]),
    buffering=st.sampled_from([-1, 0, 16]),
)
def test_writing(calls: list[tuple[Any, ...]], mode: str, buffering: int) -> None:
    if mode == "ab":  # the builtin tells positions of an append that are not there
        calls = [call for call in calls if call[0] not in ("seek", "truncate")]
    compare({"mode": mode, "buffering": buffering}, calls)


@FEW
@given(calls=updates(), buffering=st.sampled_from([-1, 0, 16]))
def test_updating(calls: list[tuple[Any, ...]], buffering: int) -> None:
    compare({"mode": "r+b", "buffering": buffering}, calls)


texts = st.text(st.sampled_from("aé€\n\r\U0001f600"), max_size=30)
text_reads = st.one_of(
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("readline"), sizes),
    st.tuples(st.just("readlines")),  # with a size the builtin refuses to tell a position after it
    st.tuples(st.just("tell")),
    st.tuples(st.just("seek"), st.just(0)),
    st.tuples(st.just("seek"), st.just(0), st.sampled_from([1, 2])),
)
newlines = st.sampled_from([None, "", "\n", "\r", "\r\n"])
encodings = st.sampled_from(["utf-8", "latin-1", "utf-8-sig"])


@FEW
@given(calls=st.lists(text_reads, max_size=12), newline=newlines, encoding=encodings)
def test_reading_text(calls: list[tuple[Any, ...]], newline: str | None, encoding: str) -> None:
    compare({"mode": "r", "encoding": encoding, "newline": newline}, calls)


@FEW
@given(
    parts=st.lists(texts, max_size=6),
    mode=st.sampled_from(["w", "a", "x"]),
    newline=newlines,
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "ascii"]),
)
def test_writing_text(parts: list[str], mode: str, newline: str | None, encoding: str) -> None:
    calls: list[tuple[Any, ...]] = [("write", part) for part in parts]
    compare({"mode": mode, "encoding": encoding, "newline": newline}, [*calls, ("flush",)])


@FEW
@given(text=texts, count=st.integers(0, 20), newline=newlines)
def test_every_position_that_was_told_is_found_again(
    text: str, count: int, newline: str | None
) -> None:
    """Whatever number `tell` gives, `seek` to it brings the same rest of the text."""

    async def main(path: Path) -> None:
        async with noria.open(path, encoding="utf-8", newline=newline) as file:
            whole = await file.read()
            await file.seek(0)
            begun = await file.read(count)
            place = await file.tell()
            rest = await file.read()
            assert begun + rest == whole
            await file.seek(place)
            assert await file.read() == rest

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        path.write_bytes(text.encode())
        noria.run(main(path))
