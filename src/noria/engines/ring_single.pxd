cimport cython
from noria.core.operation cimport Operation
from noria.engines cimport ring_files
from noria.engines.readiness cimport ReadinessEngine
from noria.engines.ring_requests cimport RingRequests
from noria.engines.slots cimport Slot
from noria.native cimport ring as native_ring
from noria.native cimport sockets as native

cdef int _EAGAIN
cdef int _ECANCELED
cdef int _EINTR
cdef int _EIO
cdef int _EOPNOTSUPP
cdef int _CONNECT
cdef int _ALLOCATE
cdef int _BACKEND
cdef int _BY_THREAD
cdef int _DIRECT
cdef int _FRACTION
cdef int _WAITING
cdef int _CODES
cdef int _CLOSE_FILE
cdef int _NATIVE
cdef int _READINESS
cdef int _UNASKED_MAX
cdef int _CHANGES_MAX
cdef int _SEVERAL
cdef long long _SINGLES_MAX
cdef int _RESTART
cdef bytearray _changing


cdef class RingSingle(RingRequests):
    cdef set _singles
    cdef set _stuck
    cdef long long _singles_done
    cdef int _gathered
    cdef bint _learned
    cdef bytearray _can
    cdef bint _by_ring_known
    cdef bint _by_ring
    cdef bint _bounded
    cdef int _changes
    cdef int _changed_fd

    @cython.locals(singles=Py_ssize_t)
    cdef bint _submit_offload(self, Operation op) except? -1
    cdef object _learn(self)
    cdef bint _disk_by_ring(self) except -1
    cdef bint _has_to_wait(self, Operation op) except -1
    cdef object _no_ring(self)
    cdef object _allocate_by_thread(self, Operation op)
    cdef bint _submit_connect(self, Operation op) except? -1
    cdef object _queue_single(self, Operation op)
    cdef object _remove_single(self, Operation op)
    cdef object _complete_single(self, Operation op, int result)
    cdef object _end_single(self, Operation op, int result)
    @cython.locals(op=Operation)
    cdef object _note_stuck(self)
    @cython.locals(op=Operation, stuck=set)
    cdef object _leave_ring(self, object owner)
    @cython.locals(slot=Slot, failure=int)
    cdef object _connect_by_readiness(self, Operation op)
