"""The file system, without holding up the loop: names, contents, directories, trees.

    from noria import fs
    settings = await fs.read_text("settings.toml", encoding="utf-8")

Everything that may wait is a coroutine with the signature, the result and the exceptions of its
namesake in `os`, `os.path` or `shutil`. `fs.open` is `noria.open`; it is left out of what
`from noria.fs import *` gives, for it would hide the builtin.
"""

from __future__ import annotations

import sys

from noria.files.aligned import aligned
from noria.files.batch import Batch, batch
from noria.files.batch_item import BatchItem
from noria.files.binary import BinaryFile
from noria.files.contents import append_bytes, read_bytes, read_text, write_bytes, write_text
from noria.files.filesystems import (
    FilesystemStatistics,
    WayStatistics,
    disk_statistics,
    filesystem,
    filesystems,
)
from noria.files.listing import DirEntry, listdir, scandir, walk
from noria.files.locks import FileLock
from noria.files.names import (
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RENAME_WHITEOUT,
    chmod,
    link,
    makedirs,
    mkdir,
    remove,
    removedirs,
    rename,
    renames,
    replace,
    rmdir,
    symlink,
    truncate,
    unlink,
    utime,
)
from noria.files.sendfile import sendfile
from noria.files.status import (
    access,
    exists,
    getsize,
    is_dir,
    is_file,
    is_symlink,
    lexists,
    lstat,
    readlink,
    realpath,
    samefile,
    stat,
)
from noria.files.streams import Opening, open  # noqa: A004 - as `os` has it
from noria.files.temporary import (
    NamedTemporaryFile,
    TemporaryDirectory,
    TemporaryFile,
    mkdtemp,
    mkstemp,
)
from noria.files.text import TextFile
from noria.files.trees import (
    CopyResult,
    copy,
    copy2,
    copyfile,
    copymode,
    copystat,
    copytree,
    disk_usage,
    move,
    rmtree,
)
from noria.files.watch import Watcher, watch
from noria.files.watch_backend import Change

__all__ = [
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "RENAME_WHITEOUT",
    "Batch",
    "BatchItem",
    "BinaryFile",
    "Change",
    "CopyResult",
    "DirEntry",
    "FileLock",
    "FilesystemStatistics",
    "NamedTemporaryFile",
    "Opening",
    "TemporaryDirectory",
    "TemporaryFile",
    "TextFile",
    "Watcher",
    "WayStatistics",
    "access",
    "aligned",
    "append_bytes",
    "batch",
    "chmod",
    "copy",
    "copy2",
    "copyfile",
    "copymode",
    "copystat",
    "copytree",
    "disk_statistics",
    "disk_usage",
    "exists",
    "filesystem",
    "filesystems",
    "getsize",
    "is_dir",
    "is_file",
    "is_symlink",
    "lexists",
    "link",
    "listdir",
    "lstat",
    "makedirs",
    "mkdir",
    "mkdtemp",
    "mkstemp",
    "move",
    "open",
    "read_bytes",
    "read_text",
    "readlink",
    "realpath",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "rmtree",
    "samefile",
    "scandir",
    "sendfile",
    "stat",
    "symlink",
    "truncate",
    "unlink",
    "utime",
    "walk",
    "watch",
    "write_bytes",
    "write_text",
]

if sys.platform == "darwin":
    from noria.files.names import lchmod

    __all__ += ["lchmod"]

if sys.platform != "win32":
    from noria.files.names import chown, lchown, mkfifo, mknod
    from noria.files.status import statvfs

    __all__ += ["chown", "lchown", "mkfifo", "mknod", "statvfs"]

if sys.platform == "linux":
    from noria.files.names import getxattr, listxattr, removexattr, setxattr

    __all__ += ["getxattr", "listxattr", "removexattr", "setxattr"]
