from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef extern from "noria/native/transfer.h":
    enum:
        READ "NORIA_READ"
        WRITE "NORIA_WRITE"
        READ_INTO "NORIA_READ_INTO"
        READ_VECTOR "NORIA_READ_VECTOR"
        WRITE_VECTOR "NORIA_WRITE_VECTOR"
        WRITE_FILE "NORIA_WRITE_FILE"
    struct iovec:
        void *iov_base
        size_t iov_len


cdef class Transfer:
    cdef public object token
    cdef readonly int kind
    cdef readonly int fd
    cdef readonly int advice
    cdef readonly long long offset
    cdef readonly Py_ssize_t size
    cdef public long long result
    cdef void *memory
    cdef iovec *vector
    cdef readonly int parts
    cdef Py_buffer *_views
    cdef Py_buffer _view
    cdef int _viewed
    cdef PyObject *_made

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice)
    cpdef uint64_t address(self) noexcept
    cdef int _borrow(self, object parts) except -1
    cpdef bytes taken(self, Py_ssize_t size)


cpdef bint has_position(int fd) noexcept
