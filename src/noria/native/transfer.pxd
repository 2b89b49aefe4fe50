from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <sys/uio.h>
    """
    struct iovec:
        void *iov_base
        size_t iov_len

cdef enum:
    # The numbers of core/codes.py.
    READ = 30
    WRITE = 31
    FSYNC = 32
    DATASYNC = 33
    TRUNCATE = 34
    CLOSE = 35
    READ_INTO = 36
    READ_VECTOR = 37
    WRITE_VECTOR = 38
    ALLOCATE = 39
    ADVISE = 50


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

    cpdef uint64_t address(self) noexcept
    cdef int _borrow(self, object parts) except -1
    cpdef bytes taken(self, Py_ssize_t size)


cpdef bint has_position(int fd) noexcept
