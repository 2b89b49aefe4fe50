"""noria.compat.aiofiles: the interface of aiofiles, on noria's loop and as a guest."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import io
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from noria import fs
from noria.compat import aiofiles
from noria.compat.aiofiles import base, ospath, tempfile, threadpool
from noria.compat.aiofiles import os as aos
from noria.compat.aiofiles.threadpool import binary, text, utils

if TYPE_CHECKING:
    from pathlib import Path

MODULES = (
    *("", ".base", ".os", ".ospath", ".tempfile", ".tempfile.temptypes", ".threadpool"),
    *(".threadpool.binary", ".threadpool.text", ".threadpool.utils"),
)
BINARY_AWAITED = {
    *("close", "flush", "isatty", "read", "read1", "readinto", "readline", "readlines", "seek"),
    *("seekable", "tell", "truncate", "writable", "write", "writelines"),
}
TEXT_AWAITED = (BINARY_AWAITED - {"read1", "readinto"}) | {"readable"}
KINDS = {
    binary.AsyncBufferedIOBase: (BINARY_AWAITED, {"detach", "fileno", "readable"}, {"raw"}),
    binary.AsyncBufferedReader: (
        BINARY_AWAITED | {"peek"},
        {"detach", "fileno", "readable"},
        {"raw"},
    ),
    binary.AsyncFileIO: (
        (BINARY_AWAITED - {"read1"}) | {"readall"},
        {"fileno", "readable"},
        set[str](),
    ),
    text.AsyncTextIOWrapper: (
        TEXT_AWAITED,
        {"detach", "fileno"},
        {"buffer", "encoding", "errors", "line_buffering", "newlines"},
    ),
}
"""By class: methods that are awaited, methods that are not, properties beyond the common ones."""


# -- the interface --------------------------------------------------------------------------------


def test_public_names() -> None:
    files = {"open", "stderr", "stderr_bytes", "stdin", "stdin_bytes", "stdout", "stdout_bytes"}
    assert set(threadpool.__all__) == files
    assert set(aiofiles.__all__) == files | {"tempfile"}
    for module in (aiofiles, aos, ospath, tempfile, threadpool):
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_public_names_and_signatures_are_those_of_aiofiles(name: str) -> None:
    pytest.importorskip("aiofiles", reason="aiofiles is not installed: `make peers`")
    theirs = importlib.import_module(f"aiofiles{name}")
    ours = importlib.import_module(f"noria.compat.aiofiles{name}")
    assert set(getattr(theirs, "__all__", ())) == set(getattr(ours, "__all__", ()))
    package = theirs.__name__.split(".")[0]
    for word, value in vars(theirs).items():
        if word.startswith("_") or not str(getattr(value, "__module__", "")).startswith(package):
            continue
        mine = getattr(ours, word)
        if inspect.isfunction(value):
            assert shape(mine) == shape(value), word
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(value), word
        elif inspect.isclass(value):
            compare_classes(mine, value)


def compare_classes(ours: type, theirs: type) -> None:
    assert shape(ours.__init__) == shape(theirs.__init__), theirs  # type: ignore[misc]
    for word in dir(theirs):
        if word.startswith("_"):
            continue
        mine, value = inspect.getattr_static(ours, word), inspect.getattr_static(theirs, word)
        assert isinstance(mine, property) == isinstance(value, property), word
        if not isinstance(value, property):
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(value), word
            assert shape(mine) == shape(value), word


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """Parameters with kinds and defaults, without annotations."""
    return [
        (item.name, item.kind, item.default)
        for item in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_kinds_of_methods(kind: type[base.AsyncBase]) -> None:
    awaited, called, properties = KINDS[kind]
    for cls in (kind, *kind.__subclasses__()):
        if cls in KINDS and cls is not kind:
            continue
        for name in awaited:
            assert inspect.iscoroutinefunction(getattr(cls, name)), name
        for name in called:
            assert not inspect.iscoroutinefunction(getattr(cls, name)), name
        for name in {"closed", "mode", "name"} | properties:
            assert isinstance(inspect.getattr_static(cls, name), property), name


def test_functions_of_os_take_the_names_of_arguments_that_os_has() -> None:
    for name in aos.__all__:
        ours = getattr(fs, name, None)
        if ours is None or name in {"path", "scandir", "sendfile", "wrap"}:
            continue
        wanted = set(inspect.signature(getattr(os, name)).parameters)
        assert wanted <= set(inspect.signature(ours).parameters), name


def test_a_call_in_an_executor_keeps_name_and_signature() -> None:
    for function in (aos.stat, aos.getcwd, ospath.isfile):
        assert inspect.iscoroutinefunction(function)
    assert aos.stat.__name__ == "stat"
    assert inspect.signature(aos.stat) == inspect.signature(os.stat)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "buffering", "kind"),
    [
        ("w", -1, text.AsyncTextIOWrapper),
        ("r+", -1, text.AsyncTextIOWrapper),
        ("rb", -1, binary.AsyncBufferedReader),
        ("rb+", -1, binary.AsyncBufferedReader),
        ("wb", -1, binary.AsyncBufferedIOBase),
        ("ab", -1, binary.AsyncBufferedIOBase),
        ("rb", 0, binary.AsyncFileIO),
        ("wb", 0, binary.AsyncFileIO),
    ],
)
def test_what_is_opened_is_of_the_class_that_aiofiles_gives(
    run: Any, tmp_path: Path, mode: str, buffering: int, kind: Any
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\ntwo\n")

    async def main() -> None:
        opening: Any = aiofiles.open(path, mode, buffering)
        async with opening as file:
            assert isinstance(file, kind)
            assert isinstance(file, binary.AsyncBufferedReader) == (
                kind is binary.AsyncBufferedReader
            )
            assert (file.mode, file.name) == (mode, path)
            assert await file.writable() == (mode[0] in "wa" or "+" in mode)
            assert await file.seekable() is True
            assert await file.isatty() is False
            able = file.readable()
            assert (await able if "b" not in mode else able) == ("r" in mode)
            assert not file.closed
            assert isinstance(file.fileno(), int)
        assert file.closed
        with pytest.raises(ValueError, match="closed file"):
            await file.tell()

    run(main())


def test_text_and_bytes_and_lines(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        file = await aiofiles.open(path, "w", encoding="utf-16", newline="\r\n")
        assert await file.write("é\n") == 2
        await file.writelines(["a\n", "b"])
        assert (file.encoding, file.errors, file.line_buffering) == ("utf-16", "strict", False)
        await file.close()
        async with aiofiles.open(path, encoding="utf-16") as file:
            assert [line async for line in file] == ["é\n", "a\n", "b"]
            assert file.newlines == "\r\n"
            await file.seek(0)
            assert await file.readline() == "é\n"
            assert await anext(file) == "a\n"
        async with aiofiles.open(path, "rb") as data:
            assert await data.peek(2) is not None
            assert await data.read(2) == "é".encode("utf-16")[:2]
            into = bytearray(2)
            assert await data.readinto(into) == 2
            assert into == "é".encode("utf-16-le")
            assert isinstance(data.raw, fs.BinaryFile)
            assert await data.raw.read_at(2, 2) == into

    run(main())


def test_the_manager_gives_one_file_and_is_entered(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"

    async def main() -> None:
        opening = aiofiles.open(path, "w")
        assert isinstance(opening, base.AiofilesContextManager)
        file = await opening
        assert await opening is file
        async with opening as entered:
            assert entered is file
        assert file.closed

    run(main())


def test_wrong_arguments_are_told_when_it_is_awaited(run: Any) -> None:
    async def main() -> None:
        opening = aiofiles.open("nowhere", "rw")
        with pytest.raises(ValueError, match="exactly one"):
            await opening
        with pytest.raises(FileNotFoundError) as caught:
            await aiofiles.open("nowhere")
        assert str(caught.value) == "[Errno 2] No such file or directory: 'nowhere'"

    run(main())


@pytest.mark.posix
@pytest.mark.parametrize(
    ("mode", "kind", "raw_mode"),
    [
        ("rb", io.FileIO, "rb"),
        ("rb+", io.FileIO, "rb+"),
        ("ab", io.FileIO, "ab"),
        ("r", io.BufferedReader, "rb"),
        ("a", io.BufferedWriter, "ab"),
        ("r+", io.BufferedRandom, "rb+"),
    ],
)
def test_detach_gives_a_synchronous_file_at_the_same_position(
    run: Any, tmp_path: Path, mode: str, kind: Any, raw_mode: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    binary_mode = "b" in mode

    async def main() -> None:
        opening = aiofiles.open(path, mode)
        file: Any = await opening
        if mode[0] == "a":
            await file.write(b"ab" if binary_mode else "ab")
        else:
            assert await file.read(4) == (b"0123" if binary_mode else "0123")
        fd = file.fileno()
        raw = file.detach()
        assert type(raw) is kind
        assert (raw.mode, raw.name, raw.fileno()) == (raw_mode, path, fd)
        if mode[0] == "a":
            assert path.read_bytes() == b"0123456789ab"
            assert raw.tell() == 12
        else:
            # Text was decoded ahead, as with io.
            assert raw.read() == (b"456789" if binary_mode else b"")
        raw.close()
        with pytest.raises(ValueError, match="has been detached"):
            await file.read()
        with pytest.raises(ValueError, match="has been detached"):
            _ = file.closed
        with pytest.raises(ValueError, match="has been detached"):
            await opening.__aexit__(None, None, None)
        with pytest.raises(ValueError, match="has been detached"):
            file.detach()
        if not binary_mode:
            assert (file.mode, file.errors, file.line_buffering) == (mode, "strict", False)

    run(main())


def test_what_appends_is_detached_where_it_was_read(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    async def main() -> None:
        file = await aiofiles.open(path, "ab+")
        await file.seek(2)
        assert await file.read(2) == b"23"
        with file.detach() as raw:
            assert raw.read(2) == b"45"

    run(main())


def test_what_is_in_the_place_of_sync_open_opens(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As aiofiles' manual has it for tests of programs that use it."""
    opened = []

    def fake(*arguments: Any, **named: Any) -> io.StringIO:
        opened.append((arguments, named["mode"], threading.current_thread().name))
        return io.StringIO("fake\n")

    monkeypatch.setattr(threadpool, "sync_open", fake)

    async def main() -> None:
        with ThreadPoolExecutor(1, "mine") as executor:
            async with aiofiles.open("nowhere", executor=executor) as file:
                assert type(file) is text.AsyncTextIOWrapper
                assert await file.read() == "fake\n"
            assert file.closed

    run(main())
    assert opened == [(("nowhere",), "r", "mine_0")]


def test_a_mock_in_the_place_of_sync_open_is_wrapped_once_its_class_is_known(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake(mock.MagicMock):
        pass

    fake = Fake()
    fake.read.return_value = b"read"
    opener = mock.Mock(return_value=fake)
    monkeypatch.setattr(threadpool, "sync_open", opener)
    threadpool.wrap.register(Fake)(binary.AsyncBufferedIOBase)

    async def main() -> None:
        async with aiofiles.open("nowhere", "rb") as file:
            assert await file.read(4) == b"read"
        fake.read.assert_called_once_with(4)
        fake.__exit__.assert_called_once_with(None, None, None)

    run(main())
    opener.assert_called_once()


@pytest.mark.posix
def test_detach_refuses_what_is_in_use_and_leaves_a_pipe_as_others_expect_it(
    run: Any, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    async def main() -> None:
        opening: Any = asyncio.gather(aiofiles.open(path, "rb", 0), aiofiles.open(path, "wb"))
        reader, writer = await opening
        reading = asyncio.ensure_future(reader.read(1))
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="in use"):
            reader._file.detach()
        await writer.write(b"12")
        raw = writer.detach()
        assert os.get_blocking(raw.fileno()) is True
        assert await reading == b"1"
        raw.write(b"3")
        raw.close()
        assert await reader.read(1) == b"2"
        assert await reader.readall() == b"3"
        await reader.close()

    run(main())


# -- what is wrapped ------------------------------------------------------------------------------


class Told(io.StringIO):
    """Tells in which thread it is used."""

    def __init__(self) -> None:
        super().__init__("a\nb\n")
        self.threads: list[str] = []

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        self.threads.append(threading.current_thread().name)
        return super().readline(-1 if size is None else size)

    def __exit__(self, *raised: object) -> None:
        self.threads.append(threading.current_thread().name)
        super().__exit__(*raised)  # type: ignore[arg-type]


def test_wrapped_objects_work_in_the_given_executor(run: Any) -> None:
    told = Told()

    async def main() -> None:
        with ThreadPoolExecutor(1, "mine") as executor:
            file = threadpool.wrap(told, executor=executor)
            assert [line async for line in file] == ["a\n", "b\n"]
            assert "wrapping" in repr(file)

    run(main())
    assert told.threads == ["mine_0"] * 3


@pytest.mark.parametrize("thing", [int, [1], io.FileIO, None], ids=repr)
def test_only_files_are_wrapped(thing: object) -> None:
    with pytest.raises(TypeError, match="nsupported"):
        threadpool.wrap(thing)
    with pytest.raises(TypeError, match="nsupported"):
        tempfile.wrap(thing, thing)


def test_wrap_by_class(tmp_path: Path) -> None:
    kinds = {
        ("wb+", 0): binary.AsyncFileIO,
        ("wb", -1): binary.AsyncBufferedIOBase,
        ("rb", -1): binary.AsyncBufferedReader,
        ("rb+", -1): binary.AsyncBufferedReader,
        ("r", -1): text.AsyncTextIOWrapper,
    }
    for (mode, buffering), kind in kinds.items():
        with (tmp_path / "file").open(mode, buffering) as file:
            assert type(threadpool.wrap(file)) is kind
            assert type(tempfile.wrap(file, file)) is kind
    assert type(threadpool.wrap(io.BytesIO())) is binary.AsyncBufferedIOBase
    assert type(threadpool.wrap(io.StringIO())) is text.AsyncTextIOWrapper


def test_standard_streams_are_looked_up_when_they_are_used(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    out = io.TextIOWrapper(data, "utf-8")

    async def main() -> None:
        await aiofiles.stdout.write("text ")
        await aiofiles.stdout.flush()
        await aiofiles.stdout_bytes.write(b"bytes")
        assert await aiofiles.stdin.readline() == "given\n"

    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stdin", io.StringIO("given\n"))
    run(main())
    assert data.getvalue() == b"text bytes"
    assert aiofiles.stdout._name == "sys.stdout"


def test_the_decorators_make_classes_of_ones_own(run: Any) -> None:
    @utils.delegate_to_executor("readline")
    @utils.proxy_method_directly("getvalue")
    @utils.proxy_property_directly("closed")
    class Mine(base.AsyncBase):
        pass

    async def main() -> None:
        mine: Any = Mine(io.StringIO("a\nb\n"), None, None)
        assert [line async for line in mine] == ["a\n", "b\n"]
        assert mine.getvalue() == "a\nb\n"
        assert mine.closed is False
        assert Mine.readline.__qualname__.endswith("Mine.readline")  # type: ignore[attr-defined]

    run(main())


# -- names ----------------------------------------------------------------------------------------


def test_functions_of_os_and_path(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("abc")

    async def main() -> None:
        assert (await aos.stat(path)).st_size == 3
        assert await ospath.getsize(path) == 3
        assert await ospath.getmtime(filename=path) == path.stat().st_mtime
        assert await ospath.isdir(s=tmp_path) is True
        assert await aos.path.isfile(tmp_path) is False
        assert await aos.getcwd() == os.getcwd()  # noqa: PTH109
        await aos.mkdir(tmp_path / "folder", mode=0o700)
        await aos.rename(path, tmp_path / "folder" / "file")
        assert await aos.listdir(tmp_path) == ["folder"]
        with await aos.scandir(tmp_path) as entries:
            assert [entry.name for entry in entries] == ["folder"]
        with pytest.raises(FileNotFoundError):
            await aos.unlink(path)

    run(main())


def test_an_executor_that_is_given_is_used(run: Any, tmp_path: Path) -> None:
    class Counted(ThreadPoolExecutor):
        count = 0

        def submit(self, *arguments: Any, **named: Any) -> Any:
            self.count += 1
            return super().submit(*arguments, **named)

    status = tmp_path.stat()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with Counted(1) as executor:
            assert await ospath.exists(tmp_path, executor=executor) is True
            assert await aos.stat(tmp_path, loop=loop, executor=executor) == status
            assert await base.wrap(len)("four", executor=executor) == 4
            assert executor.count == 3
            async with aiofiles.open(tmp_path / "file", "w", loop=loop, executor=executor) as file:
                await file.write("noria's")
            assert executor.count == 3

    run(main())
