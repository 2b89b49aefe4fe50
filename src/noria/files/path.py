"""Path: pathlib's, with coroutines for everything that may wait.

A path wraps one of pathlib, which does the computing with names. Whatever gives a path gives one of
this class. What asks the file system is a coroutine or an asynchronous iterator; that is so for
`absolute`, `resolve`, `expanduser`, `cwd` and `home` too.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import pathlib
import stat as modes
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from noria.files import contents, names, status, streams
from noria.files.hops import hop
from noria.files.host import running_host
from noria.files.listing import Batches, walk_tree
from noria.files.status import answered, look

if sys.platform != "win32":
    import grp
    import pwd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from noria.files.streams import Opening

_NOTHING_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP})
_NOTHING_THERE_WINDOWS = frozenset({21, 123, 1921})
"""What pathlib takes for an answer: not ready, invalid name, cannot resolve."""


@functools.total_ordering
class Path:
    """A path of the file system, as pathlib.Path.

    Args:
        pathsegments: joined to one path; strings or os.PathLike, none for the current directory.
    """

    __slots__ = ("__weakref__", "_path")

    def __init__(self, *pathsegments: str | os.PathLike[str]) -> None:
        self._path = pathlib.Path(*pathsegments)

    def with_segments(self, *pathsegments: str | os.PathLike[str]) -> Self:
        """Make a path like this one; what gives a path calls it, so subclasses may override it."""
        return type(self)(*pathsegments)

    # -- names: nothing of this asks the file system --------------------------------------------

    @property
    def parts(self) -> tuple[str, ...]:
        """The components of the path."""
        return self._path.parts

    @property
    def drive(self) -> str:
        """The drive, or empty."""
        return self._path.drive

    @property
    def root(self) -> str:
        """The root, or empty."""
        return self._path.root

    @property
    def anchor(self) -> str:
        """Drive and root."""
        return self._path.anchor

    @property
    def name(self) -> str:
        """The last component."""
        return self._path.name

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return self._path.suffixes

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._path.stem

    @property
    def parent(self) -> Self:
        """What it lies in, by its name."""
        return self.with_segments(self._path.parent)

    @property
    def parents(self) -> tuple[Self, ...]:
        """All that it lies in, innermost first."""
        return tuple(map(self.with_segments, self._path.parents))

    if sys.version_info >= (3, 13):

        @property
        def parser(self) -> Any:
            """The module that knows the rules: posixpath or ntpath."""
            return self._path.parser

        @classmethod
        def from_uri(cls, uri: str) -> Self:
            """Make a path of a file URI (RFC 8089)."""
            return cls(pathlib.Path.from_uri(uri))

        def full_match(self, pattern: Any, *, case_sensitive: bool | None = None) -> bool:
            """Tell whether a pattern fits the whole path."""
            return self._path.full_match(pattern, case_sensitive=case_sensitive)

    def as_posix(self) -> str:
        """Give it with slashes."""
        return self._path.as_posix()

    def as_uri(self) -> str:
        """Give it as a file URI.

        Raises:
            ValueError: it is not absolute.
        """
        return self._path.as_uri()

    def is_absolute(self) -> bool:
        """Tell whether it starts from a root."""
        return self._path.is_absolute()

    def is_reserved(self) -> bool:
        """Tell whether Windows keeps the name for itself; deprecated by pathlib in 3.13."""
        return self._path.is_reserved()

    def is_relative_to(self, other: Any, /, *more: Any) -> bool:
        """Tell whether it lies in another path, by its name."""
        return self._path.is_relative_to(other, *more)

    def relative_to(self, other: Any, /, *more: Any, **options: Any) -> Self:
        """Give the way from another path to this one.

        Args:
            other: the other one.
            more: segments joined to it; deprecated by pathlib.
            options: `walk_up=True` allows steps upwards, from Python 3.12 on.

        Raises:
            ValueError: it does not lie there.
        """
        return self.with_segments(self._path.relative_to(other, *more, **options))

    def match(self, path_pattern: Any, **options: Any) -> bool:
        """Tell whether a pattern fits the end of the path.

        Args:
            path_pattern: with `*`, `?` and `[...]`.
            options: `case_sensitive`, from Python 3.12 on.
        """
        return self._path.match(path_pattern, **options)

    def joinpath(self, *pathsegments: str | os.PathLike[str]) -> Self:
        """Go on from this path."""
        return self.with_segments(self._path.joinpath(*pathsegments))

    def with_name(self, name: str) -> Self:
        """Give it with another name."""
        return self.with_segments(self._path.with_name(name))

    def with_stem(self, stem: str) -> Self:
        """Give it with another name before the suffix."""
        return self.with_segments(self._path.with_stem(stem))

    def with_suffix(self, suffix: str) -> Self:
        """Give it with another suffix; none if that is empty."""
        return self.with_segments(self._path.with_suffix(suffix))

    def __truediv__(self, key: Any) -> Self:
        try:
            return self.with_segments(self._path / key)
        except TypeError:
            return NotImplemented

    def __rtruediv__(self, key: Any) -> Self:
        try:
            return self.with_segments(key / self._path)
        except TypeError:
            return NotImplemented

    def __fspath__(self) -> str:
        """Give it as a string, for everything that takes os.PathLike."""
        return str(self._path)

    def __str__(self) -> str:
        return str(self._path)

    def __bytes__(self) -> bytes:
        """Give it as the system has it."""
        return bytes(self._path)

    def __repr__(self) -> str:
        """Show it as it can be made again."""
        return f"{type(self).__name__}({self.as_posix()!r})"

    def __hash__(self) -> int:
        return hash(self._path)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return self._path == other._path

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Path):
            return NotImplemented
        return self._path < other._path

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        return type(self), self._path.parts

    # -- where it is ----------------------------------------------------------------------------

    @classmethod
    async def cwd(cls) -> Self:
        """Get the current directory."""
        return cls(await hop(os.getcwd))

    @classmethod
    async def home(cls) -> Self:
        """Get the user's home directory.

        Raises:
            RuntimeError: there is none.
        """
        return cls(await hop(pathlib.Path.home))

    async def absolute(self) -> Self:
        """Give it from the root on, without following links."""
        return self if self.is_absolute() else await self._like(self._path.absolute)

    async def resolve(self, strict: bool = False) -> Self:
        """Give it from the root on, without symbolic links.

        Args:
            strict: it has to be there.

        Raises:
            OSError: it is not there, with `strict`.
            RuntimeError: links go in a circle, before Python 3.13.
        """
        return await self._like(partial(self._path.resolve, strict))

    async def expanduser(self) -> Self:
        """Give it with the home directory for `~` or `~user`.

        Raises:
            RuntimeError: there is none.
        """
        return await self._like(self._path.expanduser)

    async def readlink(self) -> Self:
        """Give what a symbolic link points to."""
        return await self._like(partial(os.readlink, self._path))

    async def _like(self, call: Callable[[], str | os.PathLike[str]]) -> Self:
        return self.with_segments(await hop(call))

    # -- what it is -----------------------------------------------------------------------------

    async def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Get the status of the file, as `noria.fs.stat`."""
        return await status.stat(self._path, follow_symlinks=follow_symlinks)

    async def lstat(self) -> os.stat_result:
        """Get the status of the name itself, be it a symbolic link."""
        return await status.lstat(self._path)

    async def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether something is there.

        Raises:
            OSError: it cannot be told, such as for lack of permission.
        """
        return await self._mode(follow_symlinks) >= 0

    async def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a directory."""
        return await self._is(modes.S_IFDIR, follow_symlinks)

    async def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Tell whether it is a regular file."""
        return await self._is(modes.S_IFREG, follow_symlinks)

    async def is_symlink(self) -> bool:
        """Tell whether it is a symbolic link."""
        return await self._is(modes.S_IFLNK, False)

    async def is_block_device(self) -> bool:
        """Tell whether it is a block device."""
        return await self._is(modes.S_IFBLK, True)

    async def is_char_device(self) -> bool:
        """Tell whether it is a character device."""
        return await self._is(modes.S_IFCHR, True)

    async def is_fifo(self) -> bool:
        """Tell whether it is a FIFO."""
        return await self._is(modes.S_IFIFO, True)

    async def is_socket(self) -> bool:
        """Tell whether it is a Unix socket."""
        return await self._is(modes.S_IFSOCK, True)

    async def is_mount(self) -> bool:
        """Tell whether another filesystem is mounted there."""
        if sys.platform != "win32" or sys.version_info >= (3, 12):
            return await hop(self._path.is_mount)
        raise NotImplementedError("Path.is_mount() is unsupported on this system")

    async def is_junction(self) -> bool:
        """Tell whether it is a junction, which only Windows has."""
        if sys.platform == "win32" and sys.version_info >= (3, 12):
            return await hop(self._path.is_junction)
        return False

    async def samefile(self, other_path: str | os.PathLike[str]) -> bool:
        """Tell whether another name leads to the same file."""
        return await status.samefile(self._path, other_path)

    async def owner(self, *, follow_symlinks: bool = True) -> str:
        """Give the name of the user that the file belongs to.

        Raises:
            KeyError: the user has no name.
            NotImplementedError: on Windows.
        """
        return await hop(partial(_owner, self._path, follow_symlinks))

    async def group(self, *, follow_symlinks: bool = True) -> str:
        """Give the name of the group that the file belongs to; errors as of `owner`."""
        return await hop(partial(_group, self._path, follow_symlinks))

    async def _is(self, kind: int, follow: bool) -> bool:
        mode = await self._mode(follow)
        return mode >= 0 and modes.S_IFMT(mode) == kind

    async def _mode(self, follow: bool) -> int:
        """Get `st_mode`, -1 if nothing is there."""
        host = running_host()
        found = look(self._path, follow)
        if found:
            await answered(host)
            return -1 if isinstance(found, int) else found.st_mode
        return await hop(partial(_mode, self._path, follow), host=host)

    # -- contents -------------------------------------------------------------------------------

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Opening[Any]:
        """Open the file, as `noria.open`: awaited it gives the file, `async with` also closes it.

        Args:
            mode: "r", "w", "x" or "a", with "b", "t" and "+".
            buffering: bytes of the buffer; 0 for none, 1 for lines, -1 for the default.
            encoding: of the text; None means the locale's.
            errors: what is done about what cannot be encoded or decoded.
            newline: how lines end.

        Raises:
            TypeError, ValueError, LookupError: an argument is wrong.
            OSError: awaited; of open(2).
        """
        return streams.open(self._path, mode, buffering, encoding, errors, newline)

    async def read_bytes(self) -> bytes:
        """Read the whole file, as `noria.fs.read_bytes`."""
        return await contents.read_bytes(self._path)

    async def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """Read the whole file as text, as `noria.fs.read_text`."""
        encoding = io.text_encoding(encoding)  # which warns of the caller, not of this
        return await contents.read_text(self._path, encoding, errors, newline)

    async def write_bytes(
        self, data: Any, *, atomic: bool = False, mode: int = 0o666, sync: bool | None = None
    ) -> int:
        """Write the whole file, as `noria.fs.write_bytes`."""
        return await contents.write_bytes(self._path, data, atomic=atomic, mode=mode, sync=sync)

    async def write_text(
        self,
        data: str,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        *,
        atomic: bool = False,
        mode: int = 0o666,
        sync: bool | None = None,
    ) -> int:
        """Write the whole file as text, as `noria.fs.write_text`."""
        encoding = io.text_encoding(encoding)
        return await contents.write_text(
            self._path, data, encoding, errors, newline, atomic=atomic, mode=mode, sync=sync
        )

    # -- directories ----------------------------------------------------------------------------

    def iterdir(self) -> Batches[Self]:
        """Give what is in the directory, in no order; an asynchronous iterator.

        Raises:
            OSError: with the first: what opendir(3) says.
        """
        return Batches(partial(os.scandir, self._path), lambda entry: self / entry.name)

    def glob(self, pattern: Any, **options: Any) -> Batches[Self]:
        """Give what a pattern fits below this directory; an asynchronous iterator.

        Args:
            pattern: with `*`, `?`, `[...]` and `**`.
            options: `case_sensitive` from Python 3.12 on, `recurse_symlinks` from 3.13 on.
        """
        return Batches(lambda: iter(self._path.glob(pattern, **options)), self.with_segments)

    def rglob(self, pattern: Any, **options: Any) -> Batches[Self]:
        """Give what a pattern fits anywhere below; arguments as for `glob`."""
        return Batches(lambda: iter(self._path.rglob(pattern, **options)), self.with_segments)

    async def walk(
        self,
        top_down: bool = True,
        on_error: Callable[[OSError], object] | None = None,
        follow_symlinks: bool = False,
    ) -> AsyncIterator[tuple[Self, list[str], list[str]]]:
        """Go through a tree of directories; symbolic links count as files unless followed.

        Args:
            top_down: a directory comes before those in it, whose list the caller may change.
            on_error: called with the error of a directory that cannot be read.
            follow_symlinks: go where symbolic links point to.
        """
        steps = walk_tree(str(self._path), top_down, on_error, follow_symlinks, not follow_symlinks)
        async with contextlib.aclosing(steps):
            async for place, dirs, others in steps:
                yield self.with_segments(place), dirs, others

    # -- changes --------------------------------------------------------------------------------

    async def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory.

        Args:
            mode: permissions, before the umask.
            parents: make what it lies in as well.
            exist_ok: it may be there already.
        """
        await hop(partial(self._path.mkdir, mode, parents, exist_ok))

    async def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of one that is there to now."""
        await hop(partial(self._path.touch, mode, exist_ok))

    async def unlink(self, missing_ok: bool = False) -> None:
        """Remove the name of a file."""
        await hop(partial(self._path.unlink, missing_ok))

    async def rmdir(self) -> None:
        """Remove an empty directory."""
        await names.rmdir(self._path)

    async def rename(self, target: str | os.PathLike[str]) -> Self:
        """Rename it, and give the new path."""
        await names.rename(self._path, target)
        return self.with_segments(target)

    async def replace(self, target: str | os.PathLike[str]) -> Self:
        """Rename it over what is there, on every system, and give the new path."""
        await names.replace(self._path, target)
        return self.with_segments(target)

    async def symlink_to(
        self, target: str | os.PathLike[str], target_is_directory: bool = False
    ) -> None:
        """Make it a symbolic link to a target."""
        await names.symlink(target, self._path, target_is_directory)

    async def hardlink_to(self, target: str | os.PathLike[str]) -> None:
        """Make it one more name of a file."""
        await names.link(target, self._path)

    async def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Change permissions."""
        await names.chmod(self._path, mode, follow_symlinks=follow_symlinks)

    async def lchmod(self, mode: int) -> None:
        """Change permissions of a symbolic link itself, where the system can."""
        await names.chmod(self._path, mode, follow_symlinks=False)


# -- in a thread ----------------------------------------------------------------------------------


def _mode(path: pathlib.Path, follow: bool) -> int:
    try:
        found = path.stat() if follow else path.lstat()
    except OSError as exc:
        windows = getattr(exc, "winerror", None)
        if exc.errno not in _NOTHING_THERE and windows not in _NOTHING_THERE_WINDOWS:
            raise
        return -1
    except ValueError:
        return -1  # no name of a file, such as one with a null byte
    return found.st_mode


def _owner(path: pathlib.Path, follow: bool) -> str:
    if sys.platform != "win32":
        return path.owner() if follow else pwd.getpwuid(path.lstat().st_uid).pw_name
    raise NotImplementedError("Path.owner() is unsupported on this system")


def _group(path: pathlib.Path, follow: bool) -> str:
    if sys.platform != "win32":
        return path.group() if follow else grp.getgrgid(path.lstat().st_gid).gr_name
    raise NotImplementedError("Path.group() is unsupported on this system")
