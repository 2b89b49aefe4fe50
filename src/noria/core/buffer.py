# cython: boundscheck=False, wraparound=False
"""Memory lent to the kernel: views that pin their object for as long as an operation holds them.

A memoryview keeps its exporter alive and, for a bytearray, refuses every resize meanwhile, so the
address that the kernel was given stays good (D4). The owner drops the view when the operation has
settled.
"""

from __future__ import annotations

from typing import Any

from noria.native import views


def lend_writable(buffer: Any) -> memoryview:
    """Pin memory that the kernel is to fill.

    Args:
        buffer: any C-contiguous writable bytes-like object.

    Returns:
        A view of its bytes, one item a byte.

    Raises:
        TypeError: not a bytes-like object, read-only or not contiguous, as for `socket.recv_into`.
    """
    view = views.writable_view(buffer)
    if view is None:
        kind = type(buffer).__name__
        raise TypeError(f"a read-write bytes-like object is needed, not {kind}")
    return view


def lend_readable(buffer: Any) -> bytes | memoryview:
    """Pin memory that the kernel is to read; `bytes` needs no view.

    Raises:
        TypeError: not a bytes-like object.
    """
    if type(buffer) is bytes:
        return buffer
    view = memoryview(buffer)
    return view if view.format == "B" and view.ndim == 1 and view.contiguous else view.cast("B")
