"""noria: `noria[:engine][/disk]` on its own loop, `noria@asyncio` and `noria@uvloop` as a guest."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any

from noria.lab import adapters
from noria.lab.errors import LabError, UnableError
from noria.lab.files.subject import Call, Slot, Subject

if TYPE_CHECKING:
    import asyncio
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

WORD = re.compile(r"(:(?P<engine>[\w-]+))?(/(?P<disk>\w+))?(@(?P<host>\w+))?")
"""What may follow the name."""


class Slots(Slot):
    """noria's file; all slots share it, the first one closes it."""

    def __init__(self, file: Any, owner: bool) -> None:
        self.file = file
        self.owner = owner

    def read(self, size: int) -> Call:
        """Ask for bytes."""
        return Call(self.file.read_at, lambda offset: (size, offset))

    def read_into(self, memory: memoryview) -> Call:
        """Have them put where they belong."""
        return Call(self.file.readinto_at, lambda offset: (memory, offset))

    def write(self, data: Any) -> Call:
        """Write all of it."""
        return Call(self.file.write_at, lambda offset: (data, offset))

    async def datasync(self) -> Any:
        """fdatasync(2)."""
        return await self.file.datasync()

    async def close(self) -> None:
        """Close it once."""
        if self.owner:
            await self.file.close()


class Noria(Subject):
    """noria's public names."""

    name = "noria"

    def __init__(self, option: str = "") -> None:
        found = WORD.fullmatch(option)
        if found is None or (found["host"] and (found["engine"] or found["disk"])):
            raise LabError(
                f"noria{option} is not noria, noria:<engine>, noria/<disk>, noria:<engine>/<disk>, "
                "noria@asyncio or noria@uvloop"
            )
        self.engine = found["engine"]
        self.disk = found["disk"]
        self.host = found["host"]
        self.noria = importlib.import_module("noria")

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make noria's loop, or the one that it is a guest of. Raises LabError."""
        if self.host:
            adapter, option = adapters.load(self.host)
            return adapter.new_event_loop(option)
        try:
            loop: asyncio.AbstractEventLoop = self.noria.new_event_loop(self.engine, disk=self.disk)
        except self.noria.EngineUnavailableError as error:
            raise UnableError(str(error)) from None
        return loop

    def facts(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Tell version, engine and disk backend."""
        adapter, _ = adapters.load("noria")
        known = adapter.facts(loop)
        if self.host:
            known |= {"engine": "", "loop": f"{type(loop).__module__}.{type(loop).__qualname__}"}
            known.pop("compiled")
        return known | {"disk": self.disk or "auto"}

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open once: positions belong to the operations."""
        file = await self.noria.open(path, "r+b" if write else "rb", direct=direct)
        return [Slots(file, number == 0) for number in range(count)]

    def stat(self, path: Path) -> Call:
        """noria.fs.stat."""
        name = str(path)
        return Call(self.noria.fs.stat, lambda _: (name,))

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """noria.open, for lines."""
        if binary:
            return self.noria.open(path, "rb")  # type: ignore[no-any-return]
        return self.noria.open(path, encoding="utf-8")  # type: ignore[no-any-return]

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Whole files in single calls where nothing has to be forced."""
        name = str(path)
        if sync:
            async with self.noria.open(name, "wb") as file:
                await file.write(data)
                await file.flush()
                await file.sync()
        else:
            await self.noria.fs.write_bytes(name, data)
        read: bytes = await self.noria.fs.read_bytes(name)
        await self.noria.fs.unlink(name)
        return read

    async def open_fifo(self, path: Path) -> Any:
        """noria.open, which waits."""
        return await self.noria.open(path, "rb", buffering=0)

    def routes(self, slots: list[Slot]) -> dict[str, int]:
        """Take them from File.statistics()."""
        (file,) = {slot.file for slot in slots if isinstance(slot, Slots)}
        statistics = file.statistics()
        return {name: getattr(statistics, name) for name in ("hits", "native", "backend")}
