cimport cython
from noria.core.operation cimport Operation
from noria.disk.queued cimport QueuedBackend

cdef int _EAGAIN
cdef int _EINTR
cdef int _EIO
cdef int _FSYNC
cdef int _DATASYNC
cdef int _WRITE_AT


cdef class PosixAioBackend(QueuedBackend):
    cdef object _attendant

    cpdef object _make_queue(self)
    cpdef object _make_request(self, Operation op)
    cdef bint _is_ours(self, object request) except -1
    @cython.locals(result=cython.longlong)
    cdef str _undone(self, Operation op, object request)
    cpdef bint flush(self, bint patient=*) except -1
    cdef object _attend(self)
    cpdef int _threads(self) except? -1
    cpdef object close(self, list done)
