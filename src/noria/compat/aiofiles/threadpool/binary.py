"""Files of bytes around the synchronous objects of `io`, whose methods run in an executor."""

from __future__ import annotations

from typing import Final

from noria.compat.aiofiles.base import AsyncBase, AsyncIndirectBase
from noria.compat.aiofiles.threadpool.kinds import BufferedKind, RawKind, ReaderKind
from noria.compat.aiofiles.threadpool.utils import (
    delegate_to_executor,
    proxy_method_directly,
    proxy_property_directly,
)

AWAITED: Final = (
    *("close", "flush", "isatty", "read", "readinto", "readline", "readlines", "seek", "seekable"),
    *("tell", "truncate", "writable", "write", "writelines"),
)
"""The awaited methods of every file of bytes."""


@delegate_to_executor(*AWAITED, "read1")
@proxy_method_directly("detach", "fileno", "readable")
@proxy_property_directly("closed", "mode", "name", "raw")
class AsyncBufferedIOBase(AsyncBase, BufferedKind):
    """Around an io.BufferedWriter, or another io.BufferedIOBase."""


@delegate_to_executor("peek")
class AsyncBufferedReader(AsyncBufferedIOBase, ReaderKind):
    """Around an io.BufferedReader or io.BufferedRandom."""


@delegate_to_executor(*AWAITED, "readall")
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "mode", "name")
class AsyncFileIO(AsyncBase, RawKind):
    """Around an io.FileIO."""


@delegate_to_executor(*AWAITED, "read1")
@proxy_method_directly("detach", "fileno", "readable")
@proxy_property_directly("closed", "mode", "name", "raw")
class AsyncIndirectBufferedIOBase(AsyncIndirectBase, BufferedKind):
    """As AsyncBufferedIOBase, around what is looked up at each use."""


@delegate_to_executor("peek")
class AsyncIndirectBufferedReader(AsyncIndirectBufferedIOBase, ReaderKind):
    """As AsyncBufferedReader, around what is looked up at each use."""


@delegate_to_executor(*AWAITED, "readall")
@proxy_method_directly("fileno", "readable")
@proxy_property_directly("closed", "mode", "name")
class AsyncIndirectFileIO(AsyncIndirectBase, RawKind):
    """As AsyncFileIO, around what is looked up at each use."""
