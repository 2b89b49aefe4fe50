# cython: boundscheck=False, wraparound=False
"""One transfer with its memory, as threads of C and the kernel's AIO take it.

The memory is pinned (the buffer protocol) as long as the object lives. What is read without memory
of the caller's goes straight into a bytes object that nobody has yet.

The kernel's copy into memory that begins at offset 1 to 31 of a page takes several times as long as
any other on some processors. A bytes object may begin there; then another one is made.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF
from libc.stdint cimport uint64_t, uintptr_t

COMPILED = True

cdef extern from "Python.h":
    PyObject *PyBytes_raw "PyBytes_FromStringAndSize"(const char *memory, Py_ssize_t size)
    int resize_bytes "_PyBytes_Resize"(PyObject **data, Py_ssize_t size)

cdef extern from *:
    """
    #include <sys/types.h>
    #include <unistd.h>
    """
    long lseek_number "lseek"(int fd, long offset, int whence) noexcept
    enum:
        SEEK_CUR

cdef enum:
    TRANSFER_BYTES_MAX = 0x7FFFF000  # limits.TRANSFER_BYTES_MAX
    PAGE_BYTES = 4096
    SLOW_OFFSET_MAX = 31
    ALIGNED_BYTES_MIN = 1024  # less is copied quickly anyhow


cdef PyObject *new_bytes(Py_ssize_t size) except NULL:
    """Make a bytes object that does not begin where copying into it is slow."""
    cdef PyObject *made = PyBytes_raw(NULL, size)
    cdef PyObject *second
    cdef uintptr_t offset
    if made == NULL:
        raise MemoryError
    if size < ALIGNED_BYTES_MIN:
        return made
    offset = <uintptr_t>PyBytes_AS_STRING(<object>made) & (PAGE_BYTES - 1)
    if offset == 0 or offset > SLOW_OFFSET_MAX:
        return made
    second = PyBytes_raw(NULL, size)
    Py_DECREF(<object>made)
    if second == NULL:
        raise MemoryError
    return second


cdef class Transfer:
    """One request on an open file.

    Args:
        token: any object; it lives as long as the transfer.
        kind: what to do, by the number that core/codes.py has for it.
        fd: the open file.
        buffer: memory to write from or to read into, a list of such for vectors, else None.
        offset: position in the file; its new length for TRUNCATE.
        size: bytes to read where `buffer` is None, or the length of the range.
        advice: number of posix_fadvise(2), or flags of open(2).

    Raises:
        TypeError, BufferError: `buffer` is no contiguous memory, or not writable.
        MemoryError: there is not enough for what is to be read.

    Attributes:
        result: how it ended, >= 0 or minus errno.
        parts: how many memories a vector has.
    """

    def __init__(self, object token, int kind, int fd, object buffer, long long offset,
                 Py_ssize_t size, int advice):
        self.fill(token, kind, fd, buffer, offset, size, advice)

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice):
        """Do what `__init__` does, once; apart from it, because a call of that one is slow."""
        if self.kind:
            raise ValueError("a transfer is filled once")
        self.token = token
        self.kind = kind
        self.fd = fd
        self.offset = offset
        self.advice = advice
        self.size = size
        if kind == READ:
            self.size = min(max(size, 0), <Py_ssize_t>TRANSFER_BYTES_MAX)
            self._made = new_bytes(self.size)
            self.memory = PyBytes_AS_STRING(<object>self._made)
        elif kind == READ_INTO or kind == WRITE or kind == WRITE_FILE:
            PyObject_GetBuffer(buffer, &self._view,
                               PyBUF_WRITABLE if kind == READ_INTO else PyBUF_SIMPLE)
            self._views = &self._view
            self._viewed = 1
            self.memory = self._view.buf
            self.size = min(self._view.len, <Py_ssize_t>TRANSFER_BYTES_MAX)
        elif kind == READ_VECTOR or kind == WRITE_VECTOR:
            self._borrow(buffer)

    cdef int _borrow(self, object parts) except -1:
        cdef Py_ssize_t count = len(parts)
        cdef int flags = PyBUF_WRITABLE if self.kind == READ_VECTOR else PyBUF_SIMPLE
        self.size = 0
        self._views = <Py_buffer *>PyMem_Malloc(max(count, 1) * sizeof(Py_buffer))
        self.vector = <iovec *>PyMem_Malloc(max(count, 1) * sizeof(iovec))
        if self._views == NULL or self.vector == NULL:
            raise MemoryError
        for part in parts:
            PyObject_GetBuffer(part, &self._views[self._viewed], flags)
            self.vector[self._viewed].iov_base = self._views[self._viewed].buf
            self.vector[self._viewed].iov_len = self._views[self._viewed].len
            self.size += self._views[self._viewed].len
            self._viewed += 1
        self.parts = self._viewed
        self.memory = self.vector
        return 0

    cpdef uint64_t address(self) noexcept:
        """Where the memory is, or the vector (struct iovec) that says it."""
        return <uintptr_t>self.memory

    cpdef bytes taken(self, Py_ssize_t size):
        """Take the first `size` bytes that were read, which are the caller's then."""
        cdef PyObject *made = self._made
        self._made = NULL
        self.memory = NULL
        if made == NULL:
            raise ValueError("these bytes were taken already, or there are none")
        if size != self.size and resize_bytes(&made, size) < 0:
            raise MemoryError
        data = <bytes><object>made
        Py_DECREF(data)
        return data

    def __dealloc__(self):
        cdef int index
        if self._made != NULL:
            Py_DECREF(<object>self._made)
        for index in range(self._viewed):
            PyBuffer_Release(&self._views[index])
        if self._views != &self._view:
            PyMem_Free(self._views)
        PyMem_Free(self.vector)


cpdef bint has_position(int fd) noexcept:
    """Tell whether an open file has a position, as a pipe has not (lseek(2))."""
    return lseek_number(fd, 0, SEEK_CUR) >= 0
