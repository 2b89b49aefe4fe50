cimport cython
from noria.core.completion cimport Completions
from noria.core.operation cimport Operation
from noria.engines.interface cimport NewsSink
from noria.engines.offload cimport Offload
from noria.engines.slots cimport Slot
from noria.engines.waker cimport Waker
from noria.native cimport sockets as native
from noria.native.datagrams cimport Endpoint

cdef int _EAGAIN
cdef int _EBADF
cdef int _EINVAL
cdef int _ECANCELED
cdef int _READABLE
cdef int _WRITABLE
cdef int _HANGUP
cdef int _STOPS_SHORT
cdef int _MORE
cdef int _READ
cdef int _OFFLOAD
cdef int _IN_FLIGHT
cdef int _SETTLED
cdef int _READINESS
cdef int _RECEIVE
cdef int _SEND
cdef int _ACCEPT
cdef int _RECEIVE_DATAGRAMS
cdef int _ENTRIES_MAX
cdef long long _BYTES_MAX
cdef long long _SHARE
cdef long long _ACCEPT_COST
cdef long long _DATAGRAM_COST
cdef long long _LARGE
cdef long long _SLACK
cdef long long _TIMEOUT_MAX


cdef class Sink(NewsSink):
    cdef ReadinessEngine engine

    cpdef object news(self, int fd, int ready)


cdef class ReadinessEngine(Offload):
    cdef public bint direct
    cdef public long long polls
    cdef public long long waits
    cdef public long long news_count
    cdef public long long attempts
    cdef public long long not_ready
    cdef Py_ssize_t _cursor
    cdef Py_ssize_t _round_end
    cdef object _signals
    cdef bint _woken
    cdef public bint _attached
    cdef long long _batch_bytes
    cdef long long _asked
    cdef Waker _waker
    cdef int _wake_fd
    cdef Sink _sink

    cdef int _watch_waker(self) except -1000
    @cython.locals(slot=Slot, head=Operation, is_read=bint, result=cython.longlong, failure=int)
    cpdef bint submit(self, Operation op) except? -1
    cpdef long long try_send(self, int fd, object sock, object data,
                             Py_ssize_t offset) except? -1
    @cython.locals(slot=Slot)
    cpdef object cancel(self, Operation op)
    cpdef int poll(self, long long timeout_ns, Completions batch) except -1
    @cython.locals(slot=Slot, wanted=int)
    cpdef object take_news(self, int fd, int ready)
    @cython.locals(waker=Waker)
    cdef object _wait(self, long long timeout_ns)
    cdef long long _wait_for_news(self, long long timeout_ns) except? -1
    @cython.locals(listed=list, slot=Slot)
    cdef object _serve_listed(self, Completions batch)
    @cython.locals(share=cython.longlong, op=Operation, result=cython.longlong, endpoint=Endpoint)
    cdef object _serve_reader(self, Slot slot, Completions batch)
    cdef object _finish_reader(self, Slot slot, Operation op, long long result, object data,
                            Completions batch)
    @cython.locals(op=Operation, result=cython.longlong)
    cdef object _serve_writer(self, Slot slot, Completions batch)
    cdef long long _attempt_again(self, Operation op) except? -1
    @cython.locals(result=cython.longlong)
    cdef long long _attempt(self, Operation op) except? -1
    @cython.locals(count=Py_ssize_t)
    cdef long long _receive(self, Operation op) except? -1
    @cython.locals(endpoint=Endpoint)
    cdef long long _receive_datagrams(self, Operation op) except? -1
    cdef bint _settle_at_once(self, Operation op, long long result) except? -1
    @cython.locals(op=Operation)
    cdef object _list_cancelled(self, Completions batch)
    cpdef object flush(self)
    @cython.locals(waker=Waker, done=bint)
    cdef object _stay_attached(self)
    cdef bint _left_over(self) except -1
