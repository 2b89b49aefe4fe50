"""`noria.open`: files as streams, with the arguments and the checks of the builtin `open`."""

from __future__ import annotations

import io
import os
import warnings
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from noria.files.binary import BinaryFile
from noria.files.opening import open_file
from noria.files.text import TextFile

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType
    from typing import Literal

    from _typeshed import OpenBinaryMode, OpenTextMode

    Named = str | bytes | os.PathLike[str] | os.PathLike[bytes] | int
    Opener = Callable[[Any, int], int]

AnyFile = TypeVar("AnyFile", bound=BinaryFile | TextFile)


class Opening(Generic[AnyFile]):
    """A file that is being opened: awaited, it gives the file; `async with` also closes it."""

    def __init__(self, opening: Coroutine[Any, Any, AnyFile]) -> None:
        self._opening = opening
        self._file: AnyFile | None = None

    def __await__(self) -> Generator[Any, None, AnyFile]:
        """Open it."""
        return self._opening.__await__()

    async def __aenter__(self) -> AnyFile:
        """Open it."""
        self._file = await self._opening
        return self._file

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        assert self._file is not None
        await self._file.__aexit__(kind, value, traceback)


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenTextMode = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    direct: Literal[False] = False,
) -> Opening[TextFile]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: OpenBinaryMode,
    buffering: int = -1,
    encoding: None = None,
    errors: None = None,
    newline: None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    direct: bool = False,
) -> Opening[BinaryFile]: ...


@overload
def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: str,
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    direct: bool = False,
) -> Opening[Any]: ...


def open(  # noqa: A001 - the builtin's shape
    file: Named,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    closefd: bool = True,
    opener: Opener | None = None,
    *,
    direct: bool = False,
) -> Opening[Any]:
    """Open a file, for `async with noria.open(...) as f` or `f = await noria.open(...)`.

    Works on noria's event loop and on any other. Arguments and errors are those of the builtin
    `open`; what is wrong with the arguments is told by the call itself.

    Args:
        file: name, or the number of an open descriptor.
        mode: as for the builtin: "r", "w", "x" or "a", with "b", "t", "+".
        buffering: bytes of the buffer; 0 for none, only of bytes; 1 for lines, only of text; -1
            for the default, which is limits.STREAM_BUFFER_BYTES, and lines on a terminal.
        encoding: of the text; the locale's if it is None.
        errors: what is done about what cannot be encoded or decoded.
        newline: how lines end.
        closefd: close a number that was given with the file.
        opener: called in a thread with the name and flags instead of os.open.
        direct: bypass the page cache (O_DIRECT of open(2)). The file has no buffer then, and
            memory, lengths and positions have to be aligned.

    Returns:
        What gives a BinaryFile or a TextFile.

    Raises:
        TypeError, ValueError, LookupError: an argument is wrong.
        RuntimeError: awaited, while no event loop is running.
        OSError: awaited; of open(2).
    """
    if not isinstance(file, (str, bytes, os.PathLike, int)):
        raise TypeError(f"expected str, bytes or os.PathLike object, not {type(file).__name__}")
    _check_types(mode, buffering, {"encoding": encoding, "errors": errors, "newline": newline})
    flags = _flags_of(mode)
    binary = "b" in mode
    _check_binary(binary, encoding, errors, newline)
    if not binary and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if not closefd and not isinstance(file, int):
        raise ValueError("Cannot use closefd=False with file name")
    if isinstance(file, int) and file < 0:
        raise ValueError("negative file descriptor")
    if direct and (not binary or buffering > 0):
        raise ValueError("direct I/O is binary and has no buffer")
    options = {"opener": opener, "closefd": closefd, "direct": direct}
    if binary:
        if buffering == 1:
            message = "line buffering (buffering=1) isn't supported in binary mode"
            warnings.warn(f"{message}, the default buffer size will be used", RuntimeWarning, 2)
            buffering = -1
        return Opening(_open(file, mode, flags, 0 if direct else buffering, options))
    encoding = io.text_encoding(encoding)
    like = io.TextIOWrapper(io.BytesIO(), encoding, errors, newline)
    return Opening(_open_text(file, mode, flags, buffering, options, like, newline))


async def _open(
    file: Named, mode: str, flags: int, buffering: int, options: dict[str, Any]
) -> BinaryFile:
    made: Any = await open_file(BinaryFile, file, flags, **options)
    update = "+" if "+" in mode else ""
    kind = next((letter for letter in "xa" if letter in mode), "")
    shown = f"{kind}b{update}" if kind else "rb+" if update else "rb" if "r" in mode else "wb"
    made.set_up(shown, buffering)
    opened: BinaryFile = made
    return opened


async def _open_text(
    file: Named,
    mode: str,
    flags: int,
    buffering: int,
    options: dict[str, Any],
    like: io.TextIOWrapper,
    newline: str | None,
) -> TextFile:
    buffer = await _open(file, mode, flags, -1 if buffering == 1 else buffering, options)
    by_line = buffering == 1 or (buffering < 0 and buffer._channel is not None and buffer.isatty())
    made = TextFile(buffer, like, newline, by_line)
    made.mode = mode
    return made


def _check_types(mode: Any, buffering: Any, texts: dict[str, Any]) -> None:
    if not isinstance(mode, str):
        raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
    if not isinstance(buffering, int):
        kind = type(buffering).__name__
        raise TypeError(f"'{kind}' object cannot be interpreted as an integer")
    for name, value in texts.items():
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            raise TypeError(f"open() argument '{name}' must be str or None, not {kind}")


def _flags_of(mode: str) -> int:
    """Give the flags for os.open.

    Raises:
        ValueError: the mode means nothing.
    """
    letters = set(mode)
    if letters - set("axrwb+t") or len(mode) > len(letters):
        raise ValueError(f"invalid mode: '{mode}'")
    if "t" in letters and "b" in letters:
        raise ValueError("can't have text and binary mode at once")
    kinds = letters & set("xrwa")
    if not kinds:
        raise ValueError(
            "Must have exactly one of create/read/write/append mode and at most one plus"
        )
    if len(kinds) > 1:
        raise ValueError("must have exactly one of create/read/write/append mode")
    flags = {
        "r": 0,
        "w": os.O_CREAT | os.O_TRUNC,
        "x": os.O_CREAT | os.O_EXCL,
        "a": os.O_CREAT | os.O_APPEND,
    }[kinds.pop()]
    if "+" in letters:
        return flags | os.O_RDWR
    return flags | (os.O_RDONLY if "r" in letters else os.O_WRONLY)


def _check_binary(binary: bool, encoding: Any, errors: Any, newline: Any) -> None:
    if not binary:
        return
    for name, value in (("encoding", encoding), ("errors", errors), ("newline", newline)):
        if value is not None:
            article = "a" if name == "newline" else "an"
            raise ValueError(f"binary mode doesn't take {article} {name} argument")
