cimport cython
from noria.core.completion cimport Completions
from noria.core.operation cimport Operation
from noria.engines.readiness cimport ReadinessEngine
from noria.engines.ring_bell cimport RingBell
from noria.engines.slots cimport Slot
from noria.native cimport ring as native_ring
from noria.native cimport sockets as native

cdef int _ECANCELED
cdef int _ENOBUFS
cdef int _EAGAIN
cdef int _EINVAL
cdef int _EOPNOTSUPP
cdef int _MORE
cdef int _IDLE
cdef int _IN_FLIGHT
cdef int _NATIVE
cdef int _READINESS
cdef int _READABLE
cdef int _RECEIVE
cdef int _SEND
cdef int _CONNECT
cdef unsigned int _ENTRIES_MAX
cdef long long _BYTES_MAX
cdef int _BUFFER_BYTES
cdef int _SMALL_MIN
cdef int _NEWS
cdef int _GROUP
cdef int _UNASKED_MAX


cdef class UringEngine(RingBell):
    cdef object _owner
    cdef bint _polled
    cdef list _returning
    cdef long long _provided

    @cython.locals(op=Operation)
    cdef object _keep(self)
    @cython.locals(slot=Slot)
    cpdef bint submit(self, Operation op) except? -1
    cpdef object defer(self, Operation op)
    cpdef object withdraw(self, Operation op)
    cpdef object flush(self)
    @cython.locals(result=cython.longlong)
    cpdef object cancel(self, Operation op)
    @cython.locals(slot=Slot)
    cpdef object forget(self, int fd)
    cdef object _take_back(self, Operation op)
    cpdef int poll(self, long long timeout_ns, Completions batch) except -1
    @cython.locals(ring=native_ring.Ring, enough=bint)
    cdef long long _wait_for_news(self, long long timeout_ns) except? -1
    @cython.locals(ring=native_ring.Ring, count=cython.longlong)
    cdef long long _wait_for_readiness(self, long long timeout_ns) except? -1
    @cython.locals(ring=native_ring.Ring, batch=Completions, count=int, received=cython.uint, has_news=bint,
                   op=Operation)
    cdef long long _collect(self) except? -1
    @cython.locals(result=int)
    cdef object _complete(self, Operation op)
    @cython.locals(slot=Slot)
    cdef object _complete_receive(self, Operation op, int result)
    @cython.locals(slot=Slot)
    cdef object _end_receive(self, Operation op)
    cdef bint _unasked(self, Operation op) except -1
    cdef object _settle(self, Operation op, int result, object data)
    @cython.locals(slot=Slot)
    cdef object _leave_slot(self, Operation op)
    @cython.locals(slot=Slot, failure=int)
    cdef object _begin_readiness(self, Operation op)
    @cython.locals(count=cython.longlong)
    cdef long long _receive(self, Operation op) except? -1
    @cython.locals(returning=list, slot=Slot, op=Operation)
    cdef object _return_small(self)
