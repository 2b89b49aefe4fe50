cimport cython
from noria.core.operation cimport Operation
from noria.disk.queued cimport QueuedBackend

cdef int _EAGAIN
cdef int _EINTR
cdef int _EOPNOTSUPP
cdef int _DIRECT
cdef int _WRITE_AT
cdef int _WRITE_VECTOR_AT
cdef int _READ_AT
cdef int _READ_INTO_AT
cdef int _READ_VECTOR_AT


cdef class LinuxAioBackend(QueuedBackend):
    cpdef object _make_queue(self)
    cpdef object _make_request(self, Operation op)
    cdef bint _is_ours(self, object request) except -1
    cdef str _unfit(self, Operation op)
    @cython.locals(result=cython.longlong)
    cdef str _undone(self, Operation op, object request)
