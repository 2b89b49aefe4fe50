cimport cython
from noria.core.descriptor cimport Descriptor

cdef int _IDLE
cdef int _IN_FLIGHT
cdef int _SETTLED
cdef int _UNKNOWN
cdef bytearray _lanes


cdef class Operation:
    # Small types, because every connection has an operation.
    cdef public int fd
    cdef public short code
    cdef public unsigned char lane
    cdef public unsigned char state
    cdef public unsigned char route
    cdef public unsigned char multishot
    cdef public unsigned char borrowed
    cdef public unsigned char expectant
    cdef public unsigned char nowait
    cdef public unsigned char cancelled
    cdef public unsigned char amendable
    cdef public unsigned char crew
    cdef public unsigned char way
    cdef public object sock
    cdef public Descriptor descriptor
    cdef public object buffer
    cdef public object address
    cdef public object lent
    cdef public Py_ssize_t size
    cdef public Py_ssize_t expected
    cdef public long long offset
    cdef public long long result

    @cython.locals(lane=int)
    cdef object _set_up(self, int code, int fd, object sock)
    cpdef long long perform(self) except? -1
    cpdef object begin(self, int route)
    cpdef object settle(self, long long result)
    cpdef object deliver(self, long long result, int flags, object data)
    cpdef bint absorb(self, long long result) except -1
    cpdef object discard(self, long long result, object data)
