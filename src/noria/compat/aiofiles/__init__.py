"""The library aiofiles (25.x) by noria's files: the same names, signatures and kinds of methods.

    from noria.compat import aiofiles

    async with aiofiles.open("data.txt") as file:
        async for line in file:
            ...

What is cached is read at once, and the rest goes by noria's engine instead of a thread per call;
on noria's loop and on any other. What is wrapped by `threadpool.wrap`, the standard streams and
SpooledTemporaryFile stay synchronous objects whose methods run in an executor.
"""

from __future__ import annotations

from noria.compat.aiofiles import tempfile
from noria.compat.aiofiles.threadpool import (
    open,  # noqa: A004 - the library's name for it
    stderr,
    stderr_bytes,
    stdin,
    stdin_bytes,
    stdout,
    stdout_bytes,
)

__all__ = [
    "open",
    "stderr",
    "stderr_bytes",
    "stdin",
    "stdin_bytes",
    "stdout",
    "stdout_bytes",
    "tempfile",
]
