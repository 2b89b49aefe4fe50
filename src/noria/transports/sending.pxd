cimport cython
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport sockets as native
from noria.transports.connection cimport Connection
from noria.transports.flow cimport WriteFlow

cdef int _SEND_VECTOR
cdef int _EAGAIN
cdef int _ECANCELED
cdef int _IN_FLIGHT
cdef int _LOSSES_LOGGED


@cython.final
cdef class SendOperation(Operation):
    cdef public SendingTransport transport


cdef class SendingTransport(Connection):
    cdef readonly WriteFlow _flow

    @cython.locals(flow=WriteFlow, op=SendOperation)
    cdef object _stop_sending(self)
    cdef bint _all_sent(self)
    cdef list _state(self)
    @cython.locals(flow=WriteFlow, full=bint, sent=Py_ssize_t)
    cdef object _write_now(self, object data)
    @cython.locals(flow=WriteFlow, op=SendOperation, sent=Py_ssize_t)
    cdef object _send_more(self, bint full)
    @cython.locals(flow=WriteFlow, op=SendOperation)
    cdef object _on_sent(self, long long result)
    cdef object _end_if_sent(self, WriteFlow flow)
    @cython.locals(op=SendOperation, loop=LoopCore)
    cdef SendOperation _borrow_send(self)
    cdef object _return_send(self, SendOperation op)
    cdef object _write_after_loss(self)
    cdef object _write_failed(self, long long result)
    cdef object _maybe_pause_protocol(self, WriteFlow flow)
    cdef object _maybe_resume_protocol(self, WriteFlow flow)
    cdef object _call_flow_method(self, str name)
