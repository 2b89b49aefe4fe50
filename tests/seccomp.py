"""A seccomp filter that refuses the system calls of io_uring, for a process of its own."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SETUP, ENTER, REGISTER = 425, 426, 427
"""Numbers of the three calls, the same on every architecture."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*
_SET_SECCOMP, _NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available() -> bool:
    """Whether the filter is written for this machine."""
    return platform.machine() in _ARCHITECTURES


def forbid(number: int, calls: tuple[int, ...] = (SETUP, ENTER, REGISTER)) -> None:
    """Have the calls fail with an errno, in this thread and those it starts; for ever.

    Raises:
        OSError: the kernel takes no filter.
    """
    architecture = _ARCHITECTURES[platform.machine()]
    rows = [(_LOAD, 0, 0, 4), (_JUMP_IF_EQUAL, 0, len(calls) + 1, architecture), (_LOAD, 0, 0, 0)]
    for index, call in enumerate(calls):
        rows.append((_JUMP_IF_EQUAL, len(calls) - index, 0, call))
    rows += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | number)]
    code = b"".join(struct.pack("HBBI", *row) for row in rows)
    program = _Program(len(rows), code)
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if libc.prctl(*(ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments)):
            failure = ctypes.get_errno()
            raise OSError(failure, os.strerror(failure))
