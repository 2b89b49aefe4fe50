"""Functions of `os.path` that ask the system, as coroutine functions."""

from __future__ import annotations

from os import path
from typing import Any

from noria import fs
from noria.compat.aiofiles.base import wrap, wrap_quick

__all__ = [
    "abspath",
    "exists",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "samefile",
    "sameopenfile",
]


async def _access_time(filename: Any) -> float:
    return (await fs.stat(filename)).st_atime


async def _change_time(filename: Any) -> float:
    return (await fs.stat(filename)).st_ctime


async def _modification_time(filename: Any) -> float:
    return (await fs.stat(filename)).st_mtime


async def _is_directory(s: Any) -> bool:
    return await fs.is_dir(s)


abspath = wrap(path.abspath)
exists = wrap_quick(path.exists, fs.exists)
getatime = wrap_quick(path.getatime, _access_time)
getctime = wrap_quick(path.getctime, _change_time)
getmtime = wrap_quick(path.getmtime, _modification_time)
getsize = wrap_quick(path.getsize, fs.getsize)
isdir = wrap_quick(path.isdir, _is_directory)
isfile = wrap_quick(path.isfile, fs.is_file)
islink = wrap_quick(path.islink, fs.is_symlink)
ismount = wrap(path.ismount)
samefile = wrap_quick(path.samefile, fs.samefile)
sameopenfile = wrap(path.sameopenfile)
