# cython: boundscheck=False, wraparound=False
"""Views of memory that is lent, and where it lies.

Attributes of a memoryview cost as much as the request that the memory is for; here the fields are
read that they tell.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_IsContiguous, PyBuffer_Release
from cpython.buffer cimport PyObject_GetBuffer
from libc.stdint cimport uintptr_t

cdef extern from "Python.h":
    object PyMemoryView_FromObject(object exporter)
    Py_buffer *PyMemoryView_GET_BUFFER(object view)


cpdef object writable_view(object buffer):
    """Make a view of writable contiguous memory, one item a byte; None if it is not such memory.

    Raises TypeError for what is no bytes-like object.
    """
    cdef object view = PyMemoryView_FromObject(buffer)
    cdef Py_buffer *found = PyMemoryView_GET_BUFFER(view)
    if found.readonly or not PyBuffer_IsContiguous(found, b'C'):
        return None
    if found.ndim == 1 and found.itemsize == 1:
        if found.format == NULL or (found.format[0] == b'B' and found.format[1] == 0):
            return view
    return view.cast("B")


cpdef bint fits(object memory, long alignment, long long offset, Py_ssize_t size) except -1:
    """Tell whether offset and size are multiples of `alignment`, and memory begins at one.

    The memory, which may be None, need not begin at more than a multiple of 512 bytes.
    """
    cdef Py_buffer found
    cdef bint fitting
    if offset % alignment or size % alignment:
        return False
    if memory is None:
        return True
    PyObject_GetBuffer(memory, &found, PyBUF_SIMPLE)
    fitting = found.len == 0 or <uintptr_t>found.buf % <uintptr_t>min(alignment, 512) == 0
    PyBuffer_Release(&found)
    return fitting
