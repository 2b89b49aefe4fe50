"""Pipes for the tests of their transports."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.loops import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pipe:
    """Both ends of a pipe; what a transport has taken is its to close."""

    def __init__(self) -> None:
        read_fd, write_fd = os.pipe()
        self.read_end = os.fdopen(read_fd, "rb", 0)
        self.write_end = os.fdopen(write_fd, "wb", 0)

    def close(self) -> None:
        """Close what is left."""
        self.read_end.close()
        self.write_end.close()

    def fill(self) -> int:
        """Write until the pipe takes no more; how many bytes."""
        os.set_blocking(self.write_end.fileno(), False)
        total = 0
        while True:
            count = self.write_end.write(b"\xa5" * 4096)
            if count is None:
                return total
            total += count

    async def take(self, size: int) -> bytes:
        """Read exactly `size` bytes from the other end."""
        os.set_blocking(self.read_end.fileno(), False)
        found = bytearray()
        while len(found) < size:
            data = self.read_end.read(size - len(found))
            assert data != b"", f"the pipe ended after {len(found)} of {size} bytes"
            found += data or b""
            await asyncio.sleep(0)
        return bytes(found)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe."""
    made = Pipe()
    yield made
    made.close()


def device(name: str, mode: str) -> Any:
    """Open a device; the transport closes it."""
    return os.fdopen(os.open(name, os.O_RDWR), mode, 0)


async def reading(pipe: Any, protocol: Any = None) -> tuple[Any, Any]:
    """Read from a pipe with a Recorder."""
    made = Recorder() if protocol is None else protocol
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: made, pipe)
    return transport, made


async def writing(pipe: Any, protocol: Any = None) -> tuple[Any, Any]:
    """Write to a pipe with a Recorder."""
    made = Recorder() if protocol is None else protocol
    transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: made, pipe)
    return transport, made
