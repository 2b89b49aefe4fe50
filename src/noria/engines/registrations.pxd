cimport cython
from noria.core.operation cimport Operation
from noria.engines.interface cimport Engine, Poller
from noria.engines.slots cimport Slot, SlotTable
from noria.native cimport sockets as native

cdef int _EBADF
cdef int _ECANCELED
cdef int _READABLE
cdef int _WRITABLE
cdef int _STOPS_SHORT
cdef int _READ
cdef int _WAIT_READABLE
cdef int _WAIT_WRITABLE
cdef int _VAIN_MIN
cdef int _VAIN_MAX


cdef class Registrations(Engine):
    cdef public Poller poller
    cdef public long long interest_changes
    cdef bint _edge
    cdef SlotTable _slots
    cdef list _listed
    cdef list _cancelled
    cdef set _orphans
    cdef bint _stale

    @cython.locals(slot=Slot, op=Operation)
    cpdef object forget(self, int fd)
    @cython.locals(slot=Slot)
    cpdef bint owned(self, object fd) except -1
    @cython.locals(slot=Slot)
    cpdef object note_attempt(self, int fd, object sock, bint vain)
    @cython.locals(slot=Slot)
    cpdef bint expects_vain(self, int fd, object sock) except -1
    @cython.locals(slot=Slot)
    cdef Slot _slot_of(self, Operation op)
    cdef object _adopt(self, Slot slot, Operation op)
    @cython.locals(op=Operation)
    cdef object _drop_closed(self, Slot slot)
    @cython.locals(op=Operation)
    cdef object _evict(self, Slot slot)
    cdef Slot _replace(self, Slot slot, Operation op)
    @cython.locals(bit=int, first=bint)
    cdef object _enqueue(self, Slot slot, Operation op)
    cdef object _dequeue(self, Slot slot, Operation op)
    cdef bint _only_waits(self, Operation op) noexcept
    cdef object _list_again(self, Slot slot)
    @cython.locals(needed=int)
    cdef int _arm(self, Slot slot, Operation op) except -1000
    @cython.locals(wanted=int)
    cdef object _disarm(self, Slot slot)
    @cython.locals(result=int)
    cdef int _change(self, Slot slot, int interest) except -1000
    @cython.locals(slot=Slot, wanted=int)
    cdef bint _renew(self) except -1
