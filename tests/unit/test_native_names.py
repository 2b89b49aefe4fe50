"""Names without waiting, and renaming with flags: both twins."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

native = pytest.mark.parametrize("module", twins("names"), ids=build_of)


def told(module: ModuleType) -> bool:
    """Whether this twin can tell anything."""
    return bool(module.stat_now(b"/", True) != -errno.ENOSYS)


def fields(found: os.stat_result) -> dict[str, object]:
    return {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}


@native
def test_status_is_what_os_gives(module: ModuleType, tmp_path: Path) -> None:
    if not told(module):
        return
    (tmp_path / "file").write_bytes(b"data")
    os.utime(tmp_path / "file", ns=(1_234_567_890_123_456_789, -1_500_000_000))
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    names = [tmp_path / name for name in ("file", "link", "fifo", "socket", "")]
    for path in [*map(str, names), "/dev/null"]:
        for follow in (True, False):
            expected = os.stat(path, follow_symlinks=follow)  # noqa: PTH116
            found = module.stat_now(os.fsencode(path), follow)
            assert type(found) is os.stat_result
            assert fields(found) == fields(expected), path
            assert tuple(found) == tuple(expected)


@native
def test_what_is_not_there_is_a_number(module: ModuleType, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path / "missing")
    expected = {-errno.ENOENT, -errno.EAGAIN} if told(module) else {-errno.ENOSYS}
    assert not (tmp_path / "missing").exists()
    assert module.stat_now(name, True) in expected
    assert module.stat_now(name, False) in expected


@native
def test_no_descriptor_stays_open(module: ModuleType, tmp_path: Path) -> None:
    with open(tmp_path / "one", "wb") as file:  # noqa: PTH123
        first = os.dup(file.fileno())
    os.close(first)
    for _ in range(10):
        module.stat_now(os.fsencode(tmp_path), True)
    with open(tmp_path / "one", "rb") as file:  # noqa: PTH123
        assert file.fileno() <= first


@native
def test_null_bytes_are_refused(module: ModuleType) -> None:
    with pytest.raises(ValueError, match="null byte"):
        module.stat_now(b"a\0b", True)
    for names in ((b"a\0b", b"c"), (b"a", b"c\0")):
        with pytest.raises(ValueError, match="null byte"):
            module.rename_flags(*names, -1, -1, 0)


@native
def test_renaming(module: ModuleType, tmp_path: Path) -> None:
    one, two = (os.fsencode(tmp_path / name) for name in ("one", "two"))
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    result = module.rename_flags(one, two, -1, -1, 1)
    if not told(module):
        assert result == -errno.ENOSYS
        return
    assert result == -errno.EEXIST
    assert module.rename_flags(one, two, -1, -1, 2) == 0
    assert (tmp_path / "one").read_bytes() == b"2"
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert module.rename_flags(b"one", b"three", fd, fd, 0) == 0
        assert module.rename_flags(b"one", b"three", fd, fd, 0) == -errno.ENOENT
        assert module.rename_flags(b"three", b"x", fd, fd, 0x8000) == -errno.EINVAL
    finally:
        os.close(fd)
