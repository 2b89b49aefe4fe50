cimport cython
from noria.core.operation cimport Operation
from noria.files.host cimport Host

cdef int _EAGAIN
cdef int _EINTR
cdef int _RUN
cdef int _IN_FLIGHT
cdef int _PENDING
cdef int _DONE
cdef int _FAILED
cdef int _CANCELLED


cdef class FileOperation(Operation):
    cdef public Host host
    cdef public Pending pending
    cdef public object outcome
    cdef public object path
    cdef public long long moved

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
    cpdef object exception_of(self, long long result)
    @cython.locals(pending=Pending)
    cpdef object finish(self)
    @cython.locals(pending=Pending)
    cpdef object fail(self, object exc)


cdef class Pending:
    cdef public bint _asyncio_future_blocking
    cdef public int _ended
    cdef public FileOperation operation
    cdef Host _host
    cdef object _outcome
    cdef public object _traceback
    cdef object _callback
    cdef object _context
    cdef list _more

    @cython.locals(more=list)
    cdef object _end(self, int how, object outcome)
    cpdef object result(self)
    cpdef bint done(self)
    cpdef bint cancelled(self)
    cdef object _cancelled_error(self)
    @cython.locals(operation=FileOperation)
    cpdef object cancel(self, object msg=*)
    cdef object __weakref__


cdef class Settled:
    cdef public bint _asyncio_future_blocking
    cdef Host _host
    cdef object _outcome
    cdef bint _pausing
