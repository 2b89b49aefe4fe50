cimport cython
from noria.core.operation cimport Operation
from noria.disk.interface cimport DiskBackend
from noria.native.transfer cimport has_position

cdef int _EINVAL
cdef int _EIO
cdef int _ENOMEM
cdef int _ECANCELED
cdef int _FSYNC
cdef int _DATASYNC
cdef int _READ_AT
cdef int _READ_VECTOR_AT
cdef int _WRITE_VECTOR_AT
cdef int _PARTS_MAX
cdef int _DIRECT
cdef dict _rows


cdef class QueuedBackend(DiskBackend):
    cdef object _queue
    cdef dict _rerouted
    cdef long long _submitted
    cdef bint _closed

    cpdef object _make_queue(self)
    cpdef object _make_request(self, Operation op)
    cdef str _unfit(self, Operation op)
    cdef str _undone(self, Operation op, object request)
    @cython.locals(failure=int, reason=str)
    cpdef int submit(self, Operation op) except? -1
    cpdef bint cancel(self, Operation op) except -1
    cdef bint _is_ours(self, object request) except -1
    cpdef bint flush(self, bint patient=*) except -1
    @cython.locals(op=Operation)
    cpdef object reap(self, list done, int count)
    @cython.locals(result=cython.longlong, failure=int)
    cdef object _settle(self, Operation op, object request, list done)
    cdef int _hand_on(self, Operation op, str reason) except? -1
    cdef int _reroute(self, Operation op, str reason) except? -1
    cpdef int _threads(self) except? -1
    @cython.locals(op=Operation)
    cdef object _give_up(self, list running, list done)
