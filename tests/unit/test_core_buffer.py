"""D4: memory that is lent to the kernel stays where it is."""

from __future__ import annotations

import array
from typing import Any

import pytest

from noria.core.buffer import lend_readable, lend_writable


@pytest.mark.parametrize(
    "buffer", [bytearray(8), memoryview(bytearray(8)), array.array("i", [0, 0])]
)
def test_writable_memory_becomes_bytes(buffer: Any) -> None:
    view = lend_writable(buffer)
    assert (view.format, view.ndim, view.nbytes, len(view)) == ("B", 1, 8, 8)
    view[0] = 255
    assert bytes(memoryview(buffer).cast("B"))[0] == 255


def test_lent_memory_cannot_move() -> None:
    memory = bytearray(8)
    view = lend_writable(memory)
    with pytest.raises(BufferError):
        memory.append(1)
    view.release()
    memory.append(1)


@pytest.mark.parametrize("buffer", [b"constant", memoryview(b"constant")])
def test_constants_are_not_written_to(buffer: Any) -> None:
    with pytest.raises(TypeError, match="read-write"):
        lend_writable(buffer)


@pytest.mark.parametrize("lend", [lend_writable, lend_readable])
@pytest.mark.parametrize("buffer", [None, 5, "text", [1, 2]])
def test_other_things_are_no_memory(lend: Any, buffer: Any) -> None:
    with pytest.raises(TypeError):
        lend(buffer)


@pytest.mark.parametrize("lend", [lend_writable, lend_readable])
def test_memory_with_gaps_is_refused(lend: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        lend(memoryview(bytearray(8))[::2])


def test_bytes_are_lent_as_they_are() -> None:
    data = b"data"
    assert lend_readable(data) is data


@pytest.mark.parametrize("buffer", [bytearray(b"abcd"), memoryview(b"abcd"), array.array("h", [1])])
def test_readable_memory_becomes_bytes(buffer: Any) -> None:
    view = lend_readable(buffer)
    assert len(view) == memoryview(buffer).nbytes
    assert bytes(view) == memoryview(buffer).tobytes()


def test_an_empty_buffer() -> None:
    assert len(lend_writable(bytearray())) == 0
    assert len(lend_readable(bytearray())) == 0
