"""One suite on the builtin `open` and on `noria.open`: the same calls give the same results."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import noria
from noria.limits import STREAM_BUFFER_BYTES
from tests.files.oracle import Room, play_builtin, play_noria

if TYPE_CHECKING:
    from pathlib import Path

    from tests.files.conftest import Run

LINES = b"one\ntwo\r\nthree\rfour\n\nlast"
TEXT = "grün\nžluťoučký\r\nkůň\r\U0001f600 end\n".encode()
BIG = b"".join(b"%06d;" % number + b"x" * (number % 90) + b"\n" for number in range(4000))

BINARY: dict[str, tuple[bytes | None, dict[str, Any], list[tuple[Any, ...]]]] = {
    "read": (LINES, {"mode": "rb"}, [("read", 3), ("tell",), ("read",), ("read",), ("read", 5)]),
    "read-none": (LINES, {"mode": "rb"}, [("read", None), ("tell",), ("read", 0)]),
    "lines": (LINES, {"mode": "rb"}, [("readline",), ("readline", 2), ("readlines",), ("tell",)]),
    "hint": (LINES, {"mode": "rb"}, [("readlines", 5), ("tell",), ("readlines", 0), ("readline",)]),
    "iterate": (LINES, {"mode": "rb"}, [("iterate", 2), ("iterate", 1), ("iterate", 9)]),
    "into": (LINES, {"mode": "rb"}, [("readinto", Room(4)), ("tell",), ("readinto", Room(99))]),
    "seek": (
        LINES,
        {"mode": "rb"},
        [
            *[("seek", 5), ("read", 2), ("seek", -3, 1), ("read", 4), ("seek", -4, 2), ("read",)],
            *[("seek", 100), ("tell",), ("read", 1), ("seek", -1), ("seek", 0, 9), ("tell",)],
        ],
    ),
    "big": (
        BIG,
        {"mode": "rb"},
        [
            *[("read", 10), ("readline",), ("read", 100_000), ("tell",), ("readline",)],
            *[("seek", 3), ("readinto", Room(150_000)), ("tell",), ("read",)],
        ],
    ),
    "write": (
        None,
        {"mode": "wb"},
        [
            *[("write", b"abc"), ("tell",), ("write", bytearray(b"de")), ("seek", 1)],
            *[("write", memoryview(b"X")), ("tell",), ("writelines", [b"1", b"2"]), ("flush",)],
        ],
    ),
    "write-big": (
        None,
        {"mode": "wb"},
        [("write", b"a"), ("write", BIG), ("tell",), ("write", b"z"), ("truncate",), ("tell",)],
    ),
    "truncate": (
        LINES,
        {"mode": "rb+"},
        [
            *[("truncate", 10), ("read",), ("seek", 4), ("truncate",), ("seek", 0, 2)],
            *[("truncate", 20), ("tell",), ("write", b"end"), ("seek", 0), ("read",)],
            ("truncate", -1),
        ],
    ),
    "update": (
        LINES,
        {"mode": "rb+"},
        [
            *[("read", 4), ("seek", 4), ("write", b"TWO"), ("seek", 0), ("readline",)],
            *[("readline",), ("tell",), ("seek", 0, 2), ("write", b"!"), ("seek", -2, 2)],
            ("read",),
        ],
    ),
    "append": (
        LINES,
        {"mode": "ab+"},
        [
            *[("tell",), ("write", b"more"), ("tell",), ("seek", 0), ("read", 3), ("seek", 0, 2)],
            *[("write", b"!"), ("tell",), ("seek", 0), ("read",)],
        ],
    ),
    "exclusive": (None, {"mode": "xb+"}, [("write", b"new"), ("seek", 0), ("read",)]),
    "exists": (LINES, {"mode": "xb"}, []),
    "missing": (None, {"mode": "rb"}, []),
    "raw": (
        LINES,
        {"mode": "rb+", "buffering": 0},
        [
            *[("read", 3), ("tell",), ("readline",), ("tell",), ("write", b"-"), ("tell",)],
            *[("readinto", Room(5)), ("iterate", 1), ("tell",), ("readall",), ("truncate", 3)],
            *[("seek", 0), ("read", -1), ("attribute", "mode")],
        ],
    ),
    "small-buffer": (
        BIG,
        {"mode": "rb+", "buffering": 16},
        [("read", 20), ("readline",), ("seek", 8), ("write", b"y" * 40), ("tell",), ("readline",)],
    ),
    "only-read": (LINES, {"mode": "rb"}, [("write", b"x"), ("truncate",), ("writable",)]),
    "only-write": (LINES, {"mode": "wb"}, [("read",), ("readline",), ("readable",), ("seekable",)]),
    "types": (LINES, {"mode": "rb+"}, [("write", "text"), ("readinto", b"ro"), ("write", 5)]),
    "closed": (
        LINES,
        {"mode": "rb+"},
        [
            *[("close",), ("close",), ("read",), ("write", b""), ("tell",), ("seek", 0)],
            *[("fileno",), ("flush",), ("readable",), ("attribute", "closed"), ("iterate", 1)],
        ],
    ),
    "names": (
        LINES,
        {"mode": "rb+"},
        [("attribute", "mode"), ("isatty",), ("attribute", "closed")],
    ),
}

TEXTS: dict[str, tuple[bytes | None, dict[str, Any], list[tuple[Any, ...]]]] = {
    "read": (TEXT, {}, [("read", 3), ("tell",), ("read", 4), ("tell",), ("read",), ("tell",)]),
    "lines": (TEXT, {}, [("readline",), ("tell",), ("readline", 3), ("tell",), ("readlines",)]),
    "untranslated": (TEXT, {"newline": ""}, [("readline",), ("readline",), ("readlines",)]),
    "feed": (TEXT, {"newline": "\n"}, [("readlines",), ("attribute", "newlines")]),
    "return": (TEXT, {"newline": "\r"}, [("readlines",)]),
    "both": (TEXT, {"newline": "\r\n"}, [("readline",), ("tell",), ("readlines",)]),
    "newlines": (TEXT, {}, [("attribute", "newlines"), ("read",), ("attribute", "newlines")]),
    "iterate": (TEXT, {}, [("iterate", 2), ("iterate", 2), ("iterate", 1)]),
    "positions": (
        TEXT,
        {},
        [
            *[("readline",), ("tell",), ("seek", 6), ("read", 2), ("tell",), ("seek", 0)],
            *[("read", 1), ("seek", 0, 2), ("tell",), ("read",), ("seek", 0, 1), ("seek", 1, 1)],
            *[("seek", 1, 2), ("seek", -1), ("seek", 0, 7)],
        ],
    ),
    "utf-16": (
        "añb\ncd\n".encode("utf-16"),
        {"encoding": "utf-16"},
        [("read", 2), ("tell",), ("readline",), ("tell",), ("seek", 0), ("read",)],
    ),
    "utf-16-write": (
        None,
        {"mode": "w", "encoding": "utf-16"},
        [("write", "añb\n"), ("seek", 0), ("write", "x"), ("seek", 2), ("write", "y")],
    ),
    "utf-16-append": ("ab".encode("utf-16"), {"mode": "a", "encoding": "utf-16"}, [("write", "c")]),
    "utf-8-sig": (
        "\ufeffab\n".encode(),
        {"encoding": "utf-8-sig"},
        [("tell",), ("read", 1), ("tell",), ("seek", 0), ("read",)],
    ),
    "shift": (
        "日本\n語x".encode("iso2022_jp"),
        {"encoding": "iso2022_jp"},
        [("readline",), ("read", 1), ("read",)],
    ),
    "write": (
        None,
        {"mode": "w", "newline": "\r\n"},
        [("write", "a\nb"), ("tell",), ("writelines", ["c\n", "d"]), ("tell",), ("flush",)],
    ),
    "write-return": (None, {"mode": "w", "newline": "\r"}, [("write", "a\nb\n")]),
    "write-plain": (None, {"mode": "w", "newline": ""}, [("write", "a\nb\r\n")]),
    "append": (
        TEXT,
        {"mode": "a+"},
        [("tell",), ("write", "ž"), ("tell",), ("seek", 0), ("read", 2)],
    ),
    "bad": (b"ok\xff\n", {}, [("readline",)]),
    "bad-ignored": (b"ok\xff\n", {"errors": "ignore"}, [("read",)]),
    "bad-replaced": (b"ok\xff\n", {"errors": "replace"}, [("read",)]),
    "bad-written": (None, {"mode": "w", "encoding": "ascii"}, [("write", "ž"), ("write", "ok")]),
    "cut": ("až".encode()[:-1], {}, [("read", 1), ("read",)]),
    "truncate": (
        TEXT,
        {"mode": "r+"},
        [("readline",), ("truncate", 5), ("seek", 0), ("read",), ("attribute", "encoding")],
    ),
    "big": (
        BIG,
        {},
        [("read", 70_000), ("readline",), ("tell",), ("read", 9), ("tell",), ("read",)],
    ),
    "latin": (bytes(range(256)), {"encoding": "latin-1", "newline": ""}, [("read",), ("tell",)]),
    "only-read": (TEXT, {}, [("write", "x"), ("writable",), ("truncate",)]),
    "only-write": (TEXT, {"mode": "w"}, [("read",), ("readline",), ("iterate", 1), ("readable",)]),
    "types": (TEXT, {"mode": "r+"}, [("write", b"bytes"), ("write", 5), ("read", 2)]),
    "names": (
        TEXT,
        {"mode": "r+", "errors": "replace"},
        [("attribute", each) for each in ("mode", "errors", "encoding", "line_buffering")],
    ),
    "closed": (TEXT, {}, [("close",), ("read",), ("tell",), ("iterate", 1), ("fileno",)]),
    "by-lines": (
        None,
        {"mode": "w", "buffering": 1},
        [("write", "a\nb"), ("attribute", "line_buffering")],
    ),
}


def compare(run: Run, tmp_path: Path, case: tuple[Any, ...]) -> None:
    before, options, calls = case
    if "b" not in options.get("mode", "r"):
        options = {"encoding": "utf-8", **options}
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for path in (ours, theirs):
        if before is not None:
            path.write_bytes(before)
    expected = play_builtin(theirs, options, calls)
    assert run(play_noria(ours, options, calls)) == expected
    assert ours.exists() == theirs.exists()
    if ours.exists():
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("name", BINARY)
def test_bytes(run: Run, tmp_path: Path, name: str) -> None:
    compare(run, tmp_path, BINARY[name])


@pytest.mark.parametrize("name", TEXTS)
def test_text(run: Run, tmp_path: Path, name: str) -> None:
    compare(run, tmp_path, TEXTS[name])


@pytest.mark.parametrize(
    "mode",
    [
        *["r", "rb", "rt", "br", "w", "wb", "w+", "w+b", "wb+", "x", "xb", "x+b", "a", "ab", "a+"],
        *["r+", "r+b", "rb+", "", "rw", "rr", "b", "U", "rU", "rbt", "z", "r++", "+", "bt"],
    ],
)
def test_modes(run_once: Run, tmp_path: Path, mode: str) -> None:
    found: list[Any] = []
    for name in ("ours", "theirs"):
        path = tmp_path / name
        if "x" not in mode:
            path.write_bytes(b"")
        try:
            if name == "theirs":
                with open(path, mode) as theirs:
                    found.append((theirs.mode, theirs.readable(), theirs.writable()))
            else:

                async def main(path: Path = path) -> Any:
                    async with noria.open(path, mode) as file:
                        return file.mode, file.readable(), file.writable()

                found.append(run_once(main()))
        except Exception as exc:
            found.append((type(exc), str(exc)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((1.5,), {}),
        ((None,), {}),
        ((-1,), {}),
        (("f", 5), {}),
        (("f", "r", "x"), {}),
        (("f", "r", -1, 5), {}),
        (("f", "r"), {"errors": 5}),
        (("f", "r"), {"encoding": "no such"}),
        (("f", "r"), {"encoding": "hex"}),
        (("f", "r"), {"newline": "x"}),
        (("f", "r"), {"newline": 5}),
        (("f", "r", 0), {}),
        (("f", "rb"), {"encoding": "utf-8"}),
        (("f", "rb"), {"errors": "strict"}),
        (("f", "rb"), {"newline": ""}),
        (("f", "r"), {"closefd": False}),
    ],
)
def test_wrong_arguments_are_told_by_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], options: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").touch()
    with pytest.raises((TypeError, ValueError, LookupError), match=r".") as theirs:
        open(*arguments, **options)  # noqa: SIM115 - it fails
    with pytest.raises((TypeError, ValueError, LookupError), match=r".") as ours:
        noria.open(*arguments, **options)
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value) == str(theirs.value)


def test_line_buffering_of_bytes_warns_and_direct_is_binary(run_once: Run, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")

    async def main() -> None:
        with pytest.warns(RuntimeWarning, match="line buffering"):
            opening = noria.open(tmp_path / "f", "rb", 1)
        async with opening as file:
            assert await file.read() == b"x"

    run_once(main())
    with pytest.raises(ValueError, match="direct"):
        noria.open(tmp_path / "f", "r", direct=True)
    with pytest.raises(ValueError, match="direct"):
        noria.open(tmp_path / "f", "rb", 100, direct=True)


def test_an_open_that_nobody_awaits_is_told_of(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        noria.open(tmp_path / "f")
    assert [each.category for each in told] == [RuntimeWarning]


def test_numbers_and_openers(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(LINES)

    async def main() -> None:
        fd = os.open(path, os.O_RDWR)
        try:
            os.lseek(fd, 4, os.SEEK_SET)
            async with noria.open(fd, "r+b", closefd=False) as file:
                assert file.name == fd
                assert await file.tell() == 4
                assert await file.read(3) == b"two"
                await file.seek(0)
                await file.write(b"ONE")
            assert os.lseek(fd, 0, os.SEEK_CUR) == 3, "others who use the number go on from there"
            os.write(fd, b"+")
        finally:
            os.close(fd)
        seen = []

        def opener(name: Any, flags: int) -> int:
            seen.append(name)
            return os.open(name, flags)

        async with noria.open(path, "rb", opener=opener) as file:
            assert await file.read(4) == b"ONE+"
        assert seen == [path]
        with pytest.raises(ValueError, match="-3"):
            await noria.open(path, opener=lambda name, flags: -3)
        with pytest.raises(OSError, match="directory"):
            await noria.open(tmp_path)

    run(main())


def test_reading_behind_other_peoples_backs_stops_at_what_is_there(
    run: Run, tmp_path: Path
) -> None:
    """A file that grows is read on from where its end was met."""
    path = tmp_path / "log"
    path.write_bytes(b"one\npart")

    async def main() -> None:
        async with noria.open(path, "r", encoding="utf-8") as file:
            assert [line async for line in file] == ["one\n", "part"]
            with path.open("ab") as other:
                other.write(b"ial\nmore\n")
            assert [line async for line in file] == ["ial\n", "more\n"]

    run(main())


def test_reconfigure(run_once: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"

    async def main() -> None:
        async with noria.open(path, "w", encoding="ascii") as file:
            await file.write("a\n")
            await file.reconfigure(encoding="latin-1", newline="\r\n", line_buffering=True)
            await file.write("ä\n")
            assert path.read_bytes() == b"a\n\xe4\r\n"
            assert (file.encoding, file.errors) == ("latin-1", "strict")
            await file.sync()
            await file.datasync()
        async with noria.open(path, encoding="latin-1") as file:
            with pytest.raises(LookupError):
                await file.reconfigure(encoding="none such")
            await file.read(1)
            with pytest.raises(io.UnsupportedOperation):
                await file.reconfigure(encoding="utf-8")

    run_once(main())


def test_peek_and_single_requests(run_once: Run, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(BIG)

    async def main() -> None:
        async with noria.open(path, "rb") as file:
            peeked = await file.peek(5)
            assert BIG.startswith(peeked)
            assert len(peeked) >= 5
            assert await file.tell() == 0
            first = await file.read1()
            assert first == BIG[:STREAM_BUFFER_BYTES]
            room = bytearray(10)
            assert await file.readinto1(room) == 10
            assert room == BIG[STREAM_BUFFER_BYTES : STREAM_BUFFER_BYTES + 10]
            assert repr(file).startswith("<BinaryFile name=")

    run_once(main())


def test_results_that_are_kept_stay_what_they_are(run: Run, tmp_path: Path) -> None:
    """What is read at once is given in an object that is used again when nobody has it."""
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")

    async def main() -> None:
        async with noria.open(path, "rb") as file:
            assert [await file.read_at(1, place) for place in range(3)] == [b"0", b"1", b"2"]
            first = file.read_at(2, 0)
            second = file.read_at(2, 2)
            assert await file.read_at(2, 4) == b"45"
            assert (await second, await first) == (b"23", b"01")
            assert (await first, await second) == (b"01", b"23")
            kept = [file.read_at(1, place) for place in range(4)]
            assert [await each for each in kept] == [b"0", b"1", b"2", b"3"]
            assert [await each for each in kept] == [b"0", b"1", b"2", b"3"]

    run(main())
