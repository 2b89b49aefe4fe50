cimport cython
from noria.core.completion cimport Completions
from noria.core.operation cimport Operation
from noria.engines cimport ring_files
from noria.engines.readiness cimport ReadinessEngine
from noria.native cimport ring as native_ring

cdef int _SEND
cdef int _RECEIVE
cdef unsigned int _ENTRIES_MAX


cdef class RingRequests(ReadinessEngine):
    cdef public native_ring.Ring _ring
    cdef bint _running
    cdef list _queued
    cdef list _parked
    cdef list _uncancelled
    cdef list _handed
    cdef list _sent
    cdef list _kept
    cdef long long _native_in_flight
    cdef public long long retried
    cdef Completions _batch

    cdef object _queue(self, Operation op)
    cdef object _again(self, Operation op)
    @cython.locals(queued=list, waiting=list, done=Py_ssize_t, op=Operation)
    cdef object _flush(self)
    cdef bint _hand_over(self, Operation op) except -1
    @cython.locals(ring=native_ring.Ring, failure=int, operations=list)
    cdef int _enter(self, long long timeout_ns) except? -1
    @cython.locals(index=Py_ssize_t, op=Operation, size=Py_ssize_t)
    cdef object _finish_sends(self, list operations)
    @cython.locals(operations=list)
    cdef object _fail_send(self, Operation op, int result)
    @cython.locals(operations=list)
    cdef object _finish_sends_taken(self)
    cdef bint _prepare(self, Operation op) except -1
    cdef object _cancel_native(self, Operation op)
    cdef object _add(self, Operation op, int result, int flags, object data)
    @cython.locals(op=Operation, batch=Completions, kept=list, index=Py_ssize_t, done=Py_ssize_t)
    cdef object _deliver_kept(self)


@cython.locals(data=bytes)
cpdef bytes joined(Operation op)
