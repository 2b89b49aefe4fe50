"""Views of memory that is lent, and where it lies; interpreted twin of views.pyx."""

from __future__ import annotations

from typing import Any


def writable_view(buffer: Any) -> memoryview | None:
    """Make a view of writable contiguous memory, one item a byte; None if it is not such memory.

    Raises TypeError for what is no bytes-like object.
    """
    view = memoryview(buffer)
    if view.readonly or not view.c_contiguous:
        return None
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def fits(memory: Any, alignment: int, offset: int, size: int) -> bool:
    """Tell whether offset and size are multiples of `alignment`, and memory begins at one.

    The memory, which may be None, need not begin at more than a multiple of 512 bytes.
    """
    if offset % alignment or size % alignment:
        return False
    return memory is None or _address_of(memory) % min(alignment, 512) == 0


def _address_of(memory: Any) -> int:
    """Tell where memory begins; 0 where it cannot be told, and the kernel has to."""
    import ctypes  # noqa: PLC0415 - only those who use direct I/O pay for it

    view = memoryview(memory)
    if view.readonly:
        return 0 if type(memory) is not bytes else id(memory) + bytes.__basicsize__ - 1
    if not view.nbytes:
        return 0
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
