"""Files on a disk that does not answer: what changes them waits, and cannot be interrupted.

A process holds the locks of their inodes: it writes to each from a page that userfaultfd(2) has the
kernel wait for. Whoever writes meanwhile waits for that lock as for a disk. The process is this
module, run as a program; the files are free again when it ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import UnableError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Numbers of Linux: of system calls by machine, and of ioctl_userfaultfd(2).
_USERFAULTFD: Final = {"x86_64": 323, "aarch64": 282}
_WRITE: Final = {"x86_64": 1, "aarch64": 64}
_API: Final = 0xAA
_IOCTL_API: Final = 0xC018AA3F
_IOCTL_REGISTER: Final = 0xC020AA00
_MODE_MISSING: Final = 1

_WAITS_SECONDS: Final = 10.0
_ANSWER: Final = b"stuck\n"


class StuckDisk:
    """Makes the disk of some files stuck, until it is freed.

    Args:
        paths: files that exist.

    Raises:
        UnableError: the kernel cannot be made to wait here.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if platform.system() != "Linux" or platform.machine() not in _USERFAULTFD:
            raise UnableError("a disk is made stuck by userfaultfd(2), which is Linux's")
        words = [sys.executable, "-m", __spec__.name, *map(str, paths)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != _ANSWER:
            self.free()
            raise UnableError("there is no userfaultfd(2) that the kernel itself waits for")

    def free(self) -> None:
        """Let the disk answer again. Idempotent."""
        self._process.kill()  # whatever it holds, it holds in calls that a signal ends
        self._process.communicate()


def main(names: list[str]) -> int:
    """Hold the files until this process is killed, or who started it has gone."""
    if sys.platform != "linux":
        return 1
    import fcntl  # noqa: PLC0415 - there is none on Windows

    library = ctypes.CDLL(None, use_errno=True)
    page_bytes = mmap.PAGESIZE
    memory = mmap.mmap(-1, page_bytes)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    faults = library.syscall(_USERFAULTFD[platform.machine()], os.O_CLOEXEC)
    if faults < 0:
        return 1
    fcntl.ioctl(faults, _IOCTL_API, struct.pack("QQQ", _API, 0, 0))
    area = struct.pack("QQQQ", address, page_bytes, _MODE_MISSING, 0)
    fcntl.ioctl(faults, _IOCTL_REGISTER, area)
    for name in names:
        _hold(library, os.open(name, os.O_WRONLY), address, page_bytes)
    os.write(1, _ANSWER)
    os.read(0, 1)
    os._exit(0)  # a thread that waits for a page does not end by itself


def _hold(library: Any, file: int, address: int, size: int) -> None:
    """Write in a thread; return when that waits with the inode's lock.

    Raises:
        TimeoutError: it does not.
    """
    thread = threading.Thread(
        target=library.write, args=(file, ctypes.c_void_p(address), size), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + _WAITS_SECONDS
    while not _waits_in_write(thread.native_id):
        if time.monotonic() > deadline:
            raise TimeoutError("the inode was not locked in time")
        time.sleep(0.0002)


def _waits_in_write(thread: int | None) -> bool:
    """Whether it sleeps in write(2) (proc_pid_syscall(5), proc_pid_stat(5))."""
    task = Path(f"/proc/self/task/{thread}")
    number = task.joinpath("syscall").read_text("ascii").split()[0]
    state = task.joinpath("stat").read_text("utf-8").rpartition(")")[2].split()[0]
    return number == str(_WRITE[platform.machine()]) and state in {"S", "D"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
