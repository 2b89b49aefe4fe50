"""Libraries for files on asyncio's loop, each used as its documentation has it.

Where a library has no call for a part of a row, what stands in its place is said at the method. One
that has nothing for a row is left out of it, with a note.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import UnableError
from noria.lab.files.subject import Call, Slot, Subject

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)


def open_directly(path: str, flags: int) -> int:
    """Open without the page cache, as an `opener`."""
    return os.open(path, flags | DIRECT)


class SeekingSlot(Slot):
    """A file object with a position: each operation seeks first."""

    def __init__(self, file: Any, *, sync_seek: bool = False, into: bool = True) -> None:
        self.file = file
        self.sync_seek = sync_seek
        self.into = into

    def read(self, size: int) -> Call:
        """Seek and read."""
        seek, read = self.file.seek, self.file.read

        async def read_at(offset: int) -> Any:
            await seek(offset)
            return await read(size)

        async def read_there(offset: int) -> Any:
            seek(offset)
            return await read(size)

        return Call(read_there if self.sync_seek else read_at, lambda offset: (offset,))

    def read_into(self, memory: memoryview) -> Call:
        """Seek and read into memory, where there is a readinto."""
        if not self.into:
            return self.read(len(memory))
        seek, readinto = self.file.seek, self.file.readinto

        async def read_at(offset: int) -> Any:
            await seek(offset)
            return await readinto(memory)

        return Call(read_at, lambda offset: (offset,))

    def write(self, data: Any) -> Call:
        """Seek and write."""
        seek, write = self.file.seek, self.file.write

        async def write_at(offset: int) -> Any:
            await seek(offset)
            return await write(data)

        async def write_there(offset: int) -> Any:
            seek(offset)
            return await write(data)

        return Call(write_there if self.sync_seek else write_at, lambda offset: (offset,))

    async def close(self) -> None:
        """Close the file object."""
        await self.file.close()


class ContextSlot(SeekingSlot):
    """One whose file object has no `close`, only `async with`."""

    def __init__(self, file: Any, context: Any) -> None:
        super().__init__(file, sync_seek=True, into=False)
        self.context = context

    def write(self, data: Any) -> Call:
        """Seek and write, which takes bytes only."""
        return super().write(bytes(data))

    async def close(self) -> None:
        """Leave the context."""
        await self.context.__aexit__(None, None, None)


class Aiofiles(Subject):
    """aiofiles: each call of a file object in a thread of the loop's executor."""

    name = "aiofiles"
    modules = ("aiofiles",)
    distribution = "aiofiles"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("aiofiles")
        self.os = importlib.import_module("aiofiles.os")

    def open(self, path: Any, mode: str, **more: Any) -> Any:
        """Open: to be awaited, or a context."""
        return self.module.open(path, mode, **more)

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once for each slot, since a file object has one position."""
        opener = open_directly if direct else None
        mode = "r+b" if write else "rb"
        return [
            SeekingSlot(await self.open(path, mode, buffering=0, opener=opener))
            for _ in range(count)
        ]

    def stat(self, path: Path) -> Call:
        """os.stat in a thread."""
        name = str(path)
        return Call(self.os.stat, lambda _: (name,))

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """Open for lines."""
        if binary:
            return self.open(path, "rb")  # type: ignore[no-any-return]
        return self.open(path, "r", encoding="utf-8")  # type: ignore[no-any-return]

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """One call in a thread each; os.fsync is put there by hand."""
        name = str(path)
        async with self.open(name, "wb") as file:
            await file.write(data)
            if sync:
                await file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
        async with self.open(name, "rb") as file:
            read: bytes = await file.read()
        await self.os.unlink(name)
        return read

    async def open_fifo(self, path: Path) -> Any:
        """Open in a thread, which waits."""
        return await self.open(path, "rb", buffering=0)


class Anyio(Subject):
    """AnyIO: each call of a file object in one of its own threads."""

    name = "anyio"
    modules = ("anyio",)
    distribution = "anyio"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("anyio")

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once for each slot, since a file object has one position."""
        opener = open_directly if direct else None
        mode = "r+b" if write else "rb"
        return [
            AnyioSlot(await self.module.open_file(path, mode, buffering=0, opener=opener))
            for _ in range(count)
        ]

    def stat(self, path: Path) -> Call:
        """anyio.Path.stat."""
        return Call(self.module.Path(path).stat, lambda _: ())

    @asynccontextmanager
    async def lines(self, path: Path, *, binary: bool) -> AsyncIterator[Any]:
        """Open for lines."""
        mode, encoding = ("rb", None) if binary else ("r", "utf-8")
        async with await self.module.open_file(path, mode, encoding=encoding) as file:
            yield file

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Whole files by anyio.Path where nothing has to be forced."""
        name = self.module.Path(path)
        if sync:
            async with await self.module.open_file(name, "wb") as file:
                await file.write(data)
                await file.flush()
                await self.module.to_thread.run_sync(os.fsync, file.wrapped.fileno())
        else:
            await name.write_bytes(data)
        read: bytes = await name.read_bytes()
        await name.unlink()
        return read

    async def open_fifo(self, path: Path) -> Any:
        """Open in a thread, which waits."""
        return AnyioSlot(await self.module.open_file(path, "rb", buffering=0))


class AnyioSlot(SeekingSlot):
    """A file object that is closed by `aclose`."""

    async def close(self) -> None:
        """Close the file object."""
        await self.file.aclose()


class Aiofile(Subject):
    """aiofile: file objects over caio."""

    name = "aiofile"
    modules = ("aiofile", "caio")
    distribution = "aiofile"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("aiofile")

    def facts(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Say what caio chose as well."""
        caio = importlib.import_module("caio")
        return super().facts(loop) | {"engine": caio.preferred.__name__}

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once: its calls have an offset. A file for direct I/O is opened beside it."""
        mode = "r+b" if write else "rb"
        if direct:
            opened = open(path, mode, buffering=0, opener=open_directly)  # noqa: ASYNC230, SIM115
            return [AiofileSlot(self.module.AIOFile.from_fp(opened), opened)] * count
        file = self.module.AIOFile(path, mode)
        await file.open()
        return [AiofileSlot(file)] * count

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """async_open, for lines."""
        if binary:
            raise UnableError("its lines are text only")
        return self.module.async_open(path, "r")  # type: ignore[no-any-return]


class AiofileSlot(Slot):
    """An AIOFile."""

    def __init__(self, file: Any, below: Any = None) -> None:
        self.file = file
        self.below = below

    def read(self, size: int) -> Call:
        """Read with an offset."""
        return Call(self.file.read_bytes, lambda offset: (size, offset))

    def write(self, data: Any) -> Call:
        """Write with an offset."""
        whole = bytes(data)
        return Call(self.file.write_bytes, lambda offset: (whole, offset))

    async def datasync(self) -> Any:
        """fdatasync(2)."""
        return await self.file.fdsync()

    async def close(self) -> None:
        """Close once, however many slots share it."""
        if self.below is not None:
            self.below.close()
        elif not self.file.closed:
            await self.file.close()


class NumberSlot(Slot):
    """A number of the system's, for libraries that take one; shared by all slots.

    Args:
        path: what is opened.
        context: what the library does its operations with.
        write: open it for writing as well.
        direct: open it for direct I/O.
    """

    def __init__(self, path: Path, context: Any, *, write: bool, direct: bool) -> None:
        self.context = context
        access = os.O_RDWR if write else os.O_RDONLY
        self.fd = os.open(path, access | (DIRECT if direct else 0))

    async def close(self) -> None:
        """Close it once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class OfNumbers(Subject):
    """A library whose operations take a number and belong to a context, made by `start`."""

    slot: type[NumberSlot]
    context: Any = None

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once."""
        return [self.slot(path, self.context, write=write, direct=direct)] * count


class CaioSlot(NumberSlot):
    """A number, and caio's context."""

    def read(self, size: int) -> Call:
        """Read at an offset."""
        fd = self.fd
        return Call(self.context.read, lambda offset: (size, fd, offset))

    def write(self, data: Any) -> Call:
        """Write at an offset."""
        fd, whole = self.fd, bytes(data)
        return Call(self.context.write, lambda offset: (whole, fd, offset))

    async def datasync(self) -> Any:
        """fdatasync(2)."""
        return await self.context.fdsync(self.fd)


class Caio(OfNumbers):
    """caio: reads and writes at offsets of numbers; `caio:<variant>` for one of its ways."""

    slot = CaioSlot
    name = "caio"
    modules = ("caio",)
    distribution = "caio"
    variants: Final = {
        "uring": "linux_uring_asyncio",
        "linux_aio": "linux_aio_asyncio",
        "thread": "thread_aio_asyncio",
    }

    def __init__(self, option: str = "") -> None:
        if option and option not in self.variants:
            raise UnableError(f"caio has {', '.join(self.variants)}, not {option!r}")
        super().__init__()
        self.module = importlib.import_module("caio")
        found = getattr(self.module, self.variants[option], None) if option else self.module
        if found is None:
            raise UnableError(f"caio was built without {option}")
        self.variant = found

    def facts(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Say which of its ways is measured."""
        return super().facts(loop) | {"engine": self.variant.AsyncioContext.__module__}

    async def start(self) -> None:
        """Make the context."""
        self.context = self.variant.AsyncioContext()

    async def stop(self) -> None:
        """Close the context."""
        self.context.close()


class PyaioSlot(NumberSlot):
    """A number, and pyaio's ring."""

    def read(self, size: int) -> Call:
        """Read at an offset."""
        fd = self.fd
        return Call(self.context.read, lambda offset: (fd, offset, size))

    def write(self, data: Any) -> Call:
        """Write at an offset."""
        fd = self.fd
        return Call(self.context.write_all, lambda offset: (fd, data, offset))

    async def datasync(self) -> Any:
        """fdatasync(2)."""
        return await self.context.fsync(self.fd, datasync=True)


class Pyaio(OfNumbers):
    """pyaio: a ring for reads and writes of numbers."""

    slot = PyaioSlot
    name = "pyaio"
    modules = ("pyaio",)
    distribution = "pyaio"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("pyaio.uring")

    async def start(self) -> None:
        """Make the ring."""
        self.context = self.module.UringIO()

    async def stop(self) -> None:
        """Close the ring."""
        await self.context.aclose()


class Urio(Subject):
    """urio: buffered file objects and paths over a ring."""

    name = "urio"
    modules = ("urio",)
    distribution = "urio"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("urio")

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once for each slot, since a file object has one position."""
        if direct:
            raise UnableError("it opens nothing for direct I/O")
        mode = "r+b" if write else "rb"
        return [UrioSlot(await self.module.open(str(path), mode)) for _ in range(count)]

    def stat(self, path: Path) -> Call:
        """urio.Path.stat."""
        return Call(self.module.Path(str(path)).stat, lambda _: ())

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """Open for lines."""
        if binary:
            return self.module.open(str(path), "rb")  # type: ignore[no-any-return]
        return self.module.open(str(path), "r", encoding="utf-8")  # type: ignore[no-any-return]

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Whole files by urio.Path where nothing has to be forced."""
        name = self.module.Path(str(path))
        if sync:
            async with self.module.open(str(path), "wb") as file:
                await file.write(data)
                await file.fsync()
        else:
            await name.write_bytes(data)
        read: bytes = await name.read_bytes()
        await name.unlink()
        return read

    async def open_fifo(self, path: Path) -> Any:
        """Open, which waits."""
        return await self.module.open(str(path), "rb")


class UrioSlot(SeekingSlot):
    """A file object that can be forced to the disk."""

    async def datasync(self) -> Any:
        """fdatasync(2)."""
        return await self.file.fdatasync()


class Turbofile(Subject):
    """turbofile: file objects with reads at positions, over a driver thread."""

    name = "turbofile"
    modules = ("turbofile",)
    distribution = "turbofile"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("turbofile")

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once for reading; writes need a position each."""
        if direct:
            raise UnableError("it opens nothing for direct I/O")
        if not write:
            return [TurbofileSlot(await self.module.open(str(path), "rb"))] * count
        return [TurbofileSlot(await self.module.open(str(path), "r+b")) for _ in range(count)]

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """Open for lines."""
        if binary:
            return self.module.open(str(path), "rb")  # type: ignore[no-any-return]
        return self.module.open(str(path), "r", encoding="utf-8")  # type: ignore[no-any-return]

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Whole files in single calls; it removes none, so os.unlink does, which favours it."""
        if sync:
            raise UnableError("it has no fsync")
        await self.module.write_bytes(str(path), data)
        read: bytes = await self.module.read_bytes(str(path))
        path.unlink()  # noqa: ASYNC240 - see above
        return read


class TurbofileSlot(SeekingSlot):
    """A file object that reads at positions and seeks to write."""

    def read(self, size: int) -> Call:
        """Read at a position."""
        return Call(self.file.read_at, lambda offset: (offset, size))

    def read_into(self, memory: memoryview) -> Call:
        """Read at a position into memory."""
        return Call(self.file.readinto_at, lambda offset: (offset, memory))


class Asyncfiles(Subject):
    """py-asyncfiles: file objects over a ring."""

    name = "asyncfiles"
    modules = ("asyncfiles",)
    distribution = "py-asyncfiles"

    def __init__(self, option: str = "") -> None:
        super().__init__(option)
        self.module = importlib.import_module("asyncfiles")

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once for each slot, since a file object has one position."""
        if direct:
            raise UnableError("it opens nothing for direct I/O")
        found: list[Slot] = []
        for _ in range(count):
            context = self.module.open(str(path), "r+b" if write else "rb")
            found.append(ContextSlot(await context.__aenter__(), context))
        return found

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """It iterates over pieces of a file, not lines."""
        raise UnableError("it iterates over pieces, not lines")

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Open twice; it removes none, so os.unlink does, which favours it."""
        if sync:
            raise UnableError("it has no fsync")
        async with self.module.open(str(path), "wb") as file:
            await file.write(data)
        async with self.module.open(str(path), "rb") as file:
            read: bytes = await file.read()
        path.unlink()  # noqa: ASYNC240 - see above
        return read
