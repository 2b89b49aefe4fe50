"""Reads that wait for nothing: the same from C and from the standard library."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

native = pytest.mark.parametrize("module", twins("files"), ids=build_of)
plainly = pytest.mark.parametrize("plain", [False, True], ids=["cached", "plain"])
linux = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="RWF_NOWAIT is Linux's")
DATA = os.urandom(200_000)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An open file."""
    (tmp_path / "file").write_bytes(DATA)
    number = os.open(tmp_path / "file", os.O_RDWR)
    yield number
    os.close(number)


@linux
@native
@plainly
def test_what_was_just_written_is_read(module: ModuleType, fd: int, plain: bool) -> None:
    for size, offset in [
        (0, 0),
        (1, 0),
        (4096, 4096),
        (150_000, 7),
        (9, len(DATA) - 4),
        (5, 10**9),
    ]:
        expected = DATA[offset : offset + size]
        assert module.read_now(fd, size, offset, plain) == expected
        room = bytearray(size)
        assert module.read_now_into(fd, room, offset, plain) == len(expected)
        assert bytes(room[: len(expected)]) == expected


@linux
@native
@plainly
def test_failures_are_numbers(module: ModuleType, plain: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert module.read_now(reader, 10, 0, plain) == -errno.EBADF
    assert module.read_now_into(reader, bytearray(10), 0, plain) == -errno.EBADF
    os.close(writer)


@native
def test_misuse_raises(module: ModuleType, fd: int) -> None:
    with pytest.raises(ValueError, match="negative size"):
        module.read_now(fd, -1, 0, True)
    with pytest.raises(ValueError, match="null byte"):
        module.open_now(b"a\0b", 0)
    if hasattr(os, "preadv"):
        with pytest.raises((TypeError, BufferError)):
            module.read_now_into(fd, b"read-only", 0, True)


@native
def test_what_is_cached_is_opened_or_it_cannot_be_asked_for(
    module: ModuleType, fd: int, tmp_path: Path
) -> None:
    name = os.fsencode(tmp_path / "file")
    number = module.open_now(name, os.O_RDONLY)
    if number == -errno.ENOSYS:
        assert sys.platform != "linux" or module.__name__.startswith("interpreted_")
        return
    assert number >= 0
    assert not os.get_inheritable(number)
    assert os.path.sameopenfile(number, fd)
    os.close(number)
    assert module.open_now(name + b"-missing", os.O_RDONLY) in (-errno.ENOENT, -errno.EAGAIN)
