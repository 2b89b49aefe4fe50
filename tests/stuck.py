"""A file whose disk is stuck: what changes it waits and cannot be interrupted, until it is freed.

Another process holds the lock of the file's inode: it writes from a page that userfaultfd(2) has it
wait for. Whoever writes meanwhile waits for that lock as for a disk that does not answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import platform
import signal
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_USERFAULTFD = {"x86_64": 323, "aarch64": 282}.get(platform.machine(), -1)
_UFFD_API = 0xAA
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_REGISTER_MODE_MISSING = 1
_HELD_SECONDS = 5.0


def uninterruptible(pid: int) -> int:
    """How many threads of a process, workers of its rings among them, wait uninterruptibly."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            count += state == "D"
    return count


@contextlib.contextmanager
def stuck_disk(path: Path) -> Iterator[None]:
    """Have writes to a file, which must exist, wait while this is open."""
    if sys.platform != "linux" or _USERFAULTFD < 0:
        pytest.skip("userfaultfd is known of Linux on two machines")
    told, telling = os.pipe()
    holder = os.fork()
    if holder == 0:
        try:
            _hold(path, telling)
        finally:
            os._exit(1)
    try:
        os.close(telling)
        if os.read(told, 1) != b"h":
            pytest.skip("no userfaultfd that the kernel itself waits for")
        deadline = time.monotonic() + _HELD_SECONDS
        while not _waits(holder):
            assert time.monotonic() < deadline, "the inode was not locked in time"
            time.sleep(0.001)
        yield
    finally:
        os.close(told)
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)


def _waits(pid: int) -> bool:
    """Whether it sleeps in its only call that can."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def _hold(path: Path, telling: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    faults = library.syscall(_USERFAULTFD, os.O_CLOEXEC)
    if faults < 0:
        return
    fcntl.ioctl(faults, _UFFDIO_API, struct.pack("QQQ", _UFFD_API, 0, 0))
    page = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    register = struct.pack("QQQQ", address, mmap.PAGESIZE, _REGISTER_MODE_MISSING, 0)
    fcntl.ioctl(faults, _UFFDIO_REGISTER, register)
    file = os.open(path, os.O_WRONLY)
    os.write(telling, b"h")
    library.write(file, ctypes.c_void_p(address), mmap.PAGESIZE)
