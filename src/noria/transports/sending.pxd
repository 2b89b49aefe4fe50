cimport cython
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport sockets as native
from noria.transports.flow cimport WriteFlow
from noria.transports.reading cimport ReadingConnection

cdef int _SEND
cdef int _SEND_VECTOR
cdef Py_ssize_t _DEFERRED_MAX
cdef Py_ssize_t _SPARE_MAX
cdef int _EAGAIN
cdef int _ECANCELED
cdef int _IN_FLIGHT


@cython.final
cdef class SendOperation(Operation):
    cdef public SendingTransport transport


cdef class SendingTransport(ReadingConnection):
    cdef SendOperation _sending

    cdef object _set_up_sending(self)
    @cython.locals(op=SendOperation)
    cdef object _stop_sending(self)
    @cython.locals(flow=WriteFlow)
    cdef bint _send_all(self) except -1
    cdef list _state(self)
    @cython.locals(loop=LoopCore, flow=WriteFlow, full=bint, sent=Py_ssize_t)
    cdef object _write_now(self, object data)
    @cython.locals(flow=WriteFlow)
    cdef object _write_behind(self, SendOperation op, object data)
    cdef bint _may_wait(self, Py_ssize_t size) except -1
    @cython.locals(op=SendOperation)
    cdef object _defer(self, object data)
    @cython.locals(op=SendOperation, flow=WriteFlow)
    cdef object _send_deferred(self)
    @cython.locals(flow=WriteFlow, op=SendOperation, sent=Py_ssize_t)
    cdef object _send_more(self, bint full)
    @cython.locals(flow=WriteFlow, op=SendOperation, deferred=Py_ssize_t)
    cdef object _on_sent(self, long long result)
    cdef bint _absorb_sent(self, SendOperation op, long long result) except -1
    cdef object _end_if_sent(self)
    @cython.locals(flow=WriteFlow)
    cdef object _tell_file(self, object exc)
    @cython.locals(op=SendOperation, loop=LoopCore, spares=list)
    cdef SendOperation _borrow_send(self)
    @cython.locals(spares=list)
    cdef object _return_send(self, SendOperation op)
    cdef object _write_failed(self, long long result)
