"""What a subject offers: calls that the loops of the lab make and time, the same for everybody."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.lab.errors import UnableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


class Call(NamedTuple):
    """How one operation is asked for: `function(*arguments(offset))`.

    Libraries order their arguments differently. Tuples of them are made before anything is timed,
    so that no subject pays for a wrapper that its users would not write.
    """

    function: Callable[..., Any]
    arguments: Callable[[int], tuple[Any, ...]]


class Slot:
    """An open file for one operation at a time; several slots may share what has no position."""

    def read(self, size: int) -> Call:
        """Read `size` bytes at an offset, giving them."""
        raise NotImplementedError

    def read_into(self, memory: memoryview) -> Call:
        """Read into memory that is used again; where the library has no such call, as `read`."""
        return self.read(len(memory))

    def write(self, data: Any) -> Call:
        """Write at an offset."""
        raise NotImplementedError

    async def datasync(self) -> Any:
        """Have what was written reach the disk, without times and the like (fdatasync(2))."""
        raise UnableError("it has no fdatasync")

    async def close(self) -> None:
        """Close what this slot owns."""


class Subject:
    """Somebody who does files on an event loop. What is not overridden it cannot do."""

    name = ""
    modules: tuple[str, ...] = ()
    """What has to be importable."""

    distribution = ""
    """What is installed; empty for what is not a package of its own."""

    def __init__(self, option: str = "") -> None:
        if option:
            raise UnableError(f"{self.name} takes no option, not {option!r}")

    @classmethod
    def missing(cls) -> str | None:
        """Say why it cannot run here; None if it can."""
        for module in cls.modules:
            if importlib.util.find_spec(module) is None:
                return f"{cls.name} is not installed: pip install {cls.distribution}"
        return None

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Make the loop it runs on: asyncio's, for every library."""
        return asyncio.new_event_loop()

    def facts(self, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
        """Say what was measured."""
        return {
            "version": importlib.metadata.version(self.distribution),
            "loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
        }

    async def start(self) -> None:
        """Make what it needs on the running loop."""

    async def stop(self) -> None:
        """Give that back."""

    async def open_slots(
        self, path: Path, count: int, *, write: bool = False, direct: bool = False
    ) -> list[Slot]:
        """Open a file for `count` operations at a time."""
        raise UnableError(f"{self.name} has nothing for this row")

    def stat(self, path: Path) -> Call:
        """Look at a name, whatever the offset."""
        raise UnableError(f"{self.name} has no stat")

    def lines(self, path: Path, *, binary: bool) -> AbstractAsyncContextManager[Any]:
        """Open what gives lines."""
        raise UnableError(f"{self.name} has no lines")

    async def live(self, path: Path, data: bytes, *, sync: bool) -> bytes:
        """Make a file, write, close, read and remove it; give what was read."""
        raise UnableError(f"{self.name} has no files by name")

    async def open_fifo(self, path: Path) -> Any:
        """Open for reading what waits for a writer; has a `close` to be awaited."""
        raise UnableError(f"{self.name} opens no FIFO")

    def routes(self, slots: list[Slot]) -> dict[str, int]:
        """Say which ways the operations of slots went, where the subject tells."""
        return {}


async def close_all(slots: list[Slot]) -> None:
    """Close slots."""
    for slot in slots:
        await slot.close()
