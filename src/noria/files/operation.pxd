cimport cython
from noria.core.operation cimport Operation
from noria.files.host cimport Host
from noria.native.awaits cimport Awaited, is_spare, is_wakeup

cdef int _EAGAIN
cdef int _EINTR
cdef int _IN_FLIGHT
cdef int _PENDING
cdef int _DONE
cdef int _ENDED_BADLY
cdef int _PAUSING
cdef int _SPARE_REFERENCES


cdef class FileOperation(Operation):
    cdef public Host host
    cdef public Pending pending
    cdef public object outcome
    cdef public object path
    cdef public long long moved
    cdef public object after

    @cython.locals(pending=Pending)
    cdef object _begin(self, Host host, int code, int fd)
    @cython.locals(pending=Pending)
    cpdef Pending start(self)
    @cython.locals(host=Host)
    cpdef object submit(self)
    @cython.locals(further=int)
    cpdef object deliver(self, long long result, int flags, object data)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object give_up(self, long long result, object data)
    cpdef object left(self)
    cdef object _leave(self)
    cpdef object exception_of(self, long long result)
    @cython.locals(pending=Pending)
    cpdef object finish(self)
    @cython.locals(pending=Pending)
    cpdef object fail(self, object exc)


cdef class Pending(Awaited):
    cdef object __weakref__
    cdef public FileOperation operation
    cdef public object _traceback
    cdef Host _host
    cdef object _callback
    cdef object _context
    cdef list _more
    cdef bint _withdrawn

    cdef object _begin(self, Host host, FileOperation operation)
    @cython.locals(more=list)
    cdef object _end(self, int stage, object outcome)
    @cython.locals(host=Host)
    cdef object _told_to(self, object callback)
    cpdef object result(self)
    cpdef object _make_cancelled_error(self)
    @cython.locals(operation=FileOperation)
    cpdef object cancel(self, object msg=*)


cdef class Settled(Awaited):
    cdef Host _host

    cpdef object result(self)


@cython.locals(made=Settled)
cpdef Settled settled(Host host, object outcome, bint pausing)
