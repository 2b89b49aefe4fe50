"""Files of text around the synchronous objects of `io`, whose methods run in an executor."""

from __future__ import annotations

from typing import Final

from noria.compat.aiofiles.base import AsyncBase, AsyncIndirectBase
from noria.compat.aiofiles.threadpool.kinds import TextKind
from noria.compat.aiofiles.threadpool.utils import (
    delegate_to_executor,
    proxy_method_directly,
    proxy_property_directly,
)

AWAITED: Final = (
    *("close", "flush", "isatty", "read", "readable", "readline", "readlines", "seek", "seekable"),
    *("tell", "truncate", "writable", "write", "writelines"),
)
"""The awaited methods of files of text; `readable` is one of them, unlike that of bytes."""

PROPERTIES: Final = (
    *("buffer", "closed", "encoding", "errors", "line_buffering", "mode", "name", "newlines"),
)


@delegate_to_executor(*AWAITED)
@proxy_method_directly("detach", "fileno")
@proxy_property_directly(*PROPERTIES)
class AsyncTextIOWrapper(AsyncBase, TextKind):
    """Around an io.TextIOWrapper, or another io.TextIOBase."""


@delegate_to_executor(*AWAITED)
@proxy_method_directly("detach", "fileno")
@proxy_property_directly(*PROPERTIES)
class AsyncTextIndirectIOWrapper(AsyncIndirectBase, TextKind):
    """As AsyncTextIOWrapper, around what is looked up at each use."""
