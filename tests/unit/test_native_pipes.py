"""Calls on pipes: both twins do the same, and misuse harms nobody's memory."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from noria.limits import PIPE_SMALL_BYTES
from tests.loops import pattern
from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

pytestmark = pytest.mark.posix

each = pytest.mark.parametrize("pipes", twins("pipes"), ids=build_of)

Ends = tuple[int, int]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A non-blocking pipe."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    os.set_blocking(write_fd, False)
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError as exc:
            assert exc.errno == errno.EBADF  # noqa: PT017 - the test has closed it


@each
def test_what_is_written_is_read(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    assert pipes.write(write_fd, b"abc", 0) == 3
    assert pipes.write(write_fd, memoryview(b"abcdef"), 3) == 3
    assert pipes.write(write_fd, bytearray(b"x"), 1) == 0
    assert pipes.write_vector(write_fd, [b"abcghi", bytearray(b"jkl"), memoryview(b"")], 3) == 6
    assert pipes.write_vector(write_fd, [], 0) == 0
    assert pipes.read(read_fd, 4) == b"abcd"
    assert pipes.read(read_fd, 0) == b""
    assert pipes.read(read_fd, 1000) == b"efghijkl"


@each
def test_an_empty_and_a_full_pipe_say_not_now(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    assert pipes.read(read_fd, 100) == -errno.EAGAIN
    total = 0
    while (count := pipes.write(write_fd, bytes(1 << 20), 0)) > 0:
        total += count
    assert count == -errno.EAGAIN
    assert pipes.write_vector(write_fd, [b"x"], 0) == -errno.EAGAIN
    found = pipes.read(read_fd, 1 << 20)
    assert len(found) == total


@each
def test_the_end_is_empty_and_a_missing_reader_an_error(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    other_read, other_write = os.pipe()
    os.close(other_read)
    assert pipes.write(other_write, b"x", 0) == -errno.EPIPE
    assert pipes.write_vector(other_write, [b"x"], 0) == -errno.EPIPE
    os.close(other_write)
    assert pipes.write(other_write, b"x", 0) == -errno.EBADF
    assert pipes.read(other_read, 1) == -errno.EBADF
    pipes.write(write_fd, b"last", 0)
    os.close(write_fd)
    assert pipes.read(read_fd, 100) == b"last"
    assert pipes.read(read_fd, 100) == b""


@each
def test_large_pieces_are_whole(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    data = pattern(1 << 20)
    found = bytearray()
    offset = 0
    while len(found) < len(data):
        count = pipes.write(write_fd, data, offset)
        offset += max(count, 0)
        piece = pipes.read(read_fd, 1 << 18)
        assert type(piece) is bytes
        found += piece
    assert found == data


@each
def test_a_small_read_takes_no_more_than_16_kib(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    small = PIPE_SMALL_BYTES
    assert pipes.read(read_fd, 1 << 20, True) == -errno.EAGAIN
    data = pattern(small + 1000)
    pipes.write(write_fd, data, 0)
    assert pipes.read(read_fd, 10, True) == data[:10]
    assert pipes.read(read_fd, 1 << 20, True) == data[10 : small + 10]
    assert pipes.read(read_fd, 1 << 20, True) == data[small + 10 :]
    os.close(write_fd)
    assert pipes.read(read_fd, 1 << 20, True) == b""
    with pytest.raises(ValueError, match="negative"):
        pipes.read(read_fd, -1, True)


@each
def test_more_chunks_than_one_call_takes(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    assert pipes.write_vector(write_fd, [b"x"] * 100, 0) == 64
    assert pipes.read(read_fd, 1000) == b"x" * 64


@each
def test_misuse_is_refused(pipes: ModuleType, ends: Ends) -> None:
    read_fd, write_fd = ends
    with pytest.raises(ValueError, match="negative"):
        pipes.read(read_fd, -1)
    with pytest.raises(TypeError):
        pipes.write(write_fd, "text", 0)
    with pytest.raises(TypeError):
        pipes.write_vector(write_fd, [b"good", "text"], 0)
    assert pipes.write(write_fd, b"short", 100) == 0
    assert pipes.read(read_fd, 100) == -errno.EAGAIN
    memory = bytearray(b"not pinned")
    pipes.write_vector(write_fd, [memory], 0)
    memory += b" afterwards"


@each
def test_a_terminal_is_read_by_lines(pipes: ModuleType) -> None:
    master, slave = os.openpty()
    os.set_blocking(slave, False)
    try:
        assert pipes.read(slave, 100) == -errno.EAGAIN
        os.write(master, b"first\nabc123\nun")
        assert pipes.read(slave, 100) == b"first\n"
        assert pipes.read(slave, 3) == b"abc"
        assert pipes.read(slave, 100) == b"123\n"
        assert pipes.read(slave, 100) == -errno.EAGAIN
        assert pipes.write(slave, b"shown", 0) == 5
    finally:
        os.close(slave)
        os.close(master)
