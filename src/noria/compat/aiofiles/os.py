"""Functions of `os` that ask the system, as coroutine functions; `path` has those of `os.path`."""

from __future__ import annotations

import os
import sys

from noria import fs
from noria.compat.aiofiles import ospath as path
from noria.compat.aiofiles.base import wrap, wrap_quick

__all__ = [
    "access",
    "getcwd",
    "link",
    "listdir",
    "makedirs",
    "mkdir",
    "path",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "symlink",
    "unlink",
    "wrap",
]

access = wrap_quick(os.access, fs.access)
getcwd = wrap(os.getcwd)
link = wrap_quick(os.link, fs.link)
listdir = wrap_quick(os.listdir, fs.listdir)
makedirs = wrap_quick(os.makedirs, fs.makedirs)
mkdir = wrap_quick(os.mkdir, fs.mkdir)
readlink = wrap_quick(os.readlink, fs.readlink)
remove = wrap_quick(os.remove, fs.remove)
removedirs = wrap_quick(os.removedirs, fs.removedirs)
rename = wrap_quick(os.rename, fs.rename)
renames = wrap_quick(os.renames, fs.renames)
replace = wrap_quick(os.replace, fs.replace)
rmdir = wrap_quick(os.rmdir, fs.rmdir)
scandir = wrap(os.scandir)
stat = wrap_quick(os.stat, fs.stat)
symlink = wrap_quick(os.symlink, fs.symlink)
unlink = wrap_quick(os.unlink, fs.unlink)

if sys.platform != "win32":
    __all__ += ["sendfile", "statvfs"]
    sendfile = wrap(os.sendfile)
    statvfs = wrap_quick(os.statvfs, fs.statvfs)
