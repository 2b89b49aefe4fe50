"""Child processes for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PIPE = subprocess.PIPE
SLEEP = ("/bin/sleep", "1000")


class Told(asyncio.SubprocessProtocol):
    """A protocol that writes down what it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.events: list[str] = []
        self.data: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the transport."""
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Collect."""
        assert "made" in self.events
        self.data[fd] += data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note it."""
        self.events.append(f"lost {fd}")

    def process_exited(self) -> None:
        """Note it."""
        self.events.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        assert exc is None
        self.events.append("lost")
        self.lost.set_result(None)


async def execute(*args: Any, protocol: Any = None, **keywords: Any) -> tuple[Any, Any]:
    """Start a program with a Told; without pipes unless asked for."""
    made = Told() if protocol is None else protocol
    keywords = {"stdin": None, "stdout": None, "stderr": None, **keywords}
    return await asyncio.get_running_loop().subprocess_exec(lambda: made, *args, **keywords)


def shell(value: bool) -> dict[str, Any]:
    """The keyword that has one value only."""
    return {"shell": value}


def python(code: str) -> tuple[str, ...]:
    """Arguments that run a line of Python, quickly."""
    return (sys.executable, "-S", "-E", "-c", code)


async def talk(process: asyncio.subprocess.Process, data: bytes | None = None) -> Any:
    """Communicate; typeshed does not know of the None for what is no pipe."""
    return await process.communicate(data)


def end_of(transport: Any) -> None:
    """Wait, loop and all, until the child is a zombie."""
    with contextlib.suppress(ChildProcessError):  # asyncio's watcher may have been there first
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)


def steal(transport: Any) -> bool:
    """Reap the child behind the loop's back; whether that was possible."""
    try:
        os.waitpid(transport.get_pid(), 0)
    except ChildProcessError:
        return False
    return True


def children() -> set[int]:
    """Process ids of this process's children, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found
