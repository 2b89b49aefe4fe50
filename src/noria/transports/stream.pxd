cimport cython
from noria.core.descriptor cimport Descriptor
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.native cimport sockets as native
from noria.transports.flow cimport WriteFlow

cdef int _RECEIVE
cdef int _WAIT_READABLE
cdef int _SEND_VECTOR
cdef Py_ssize_t _SIZE
cdef Py_ssize_t _SHARE
cdef int _EAGAIN
cdef int _ECANCELED
cdef int _IN_FLIGHT
cdef int _STOPPED
cdef int _RECEIVING
cdef int _CANCELLING
cdef int _DATA
cdef int _BUFFERED
cdef int _STREAM_READER


@cython.final
cdef class ReceiveOperation(Operation):
    cdef public StreamTransport transport


@cython.final
cdef class SendOperation(Operation):
    cdef public StreamTransport transport


cdef class StreamTransport:
    cdef object __weakref__
    cdef readonly LoopCore _loop
    cdef public Descriptor _descriptor
    cdef readonly int _fd
    cdef readonly int _lost
    cdef object _sock
    cdef object _peer
    cdef object _local
    cdef object _extra
    cdef object _server
    cdef readonly WriteFlow _flow
    cdef SendOperation _send
    cdef ReceiveOperation _receive
    cdef list _held
    cdef object _context
    cdef readonly object _protocol
    cdef object _feed
    cdef unsigned char _kind
    cdef unsigned char _receiving
    cdef readonly bint _closing
    cdef readonly bint _eof
    cdef readonly bint _paused
    cdef bint _started

    cpdef object _start(self, object waiter=*)
    cpdef object _begin(self, object waiter)
    cdef bint _at_end(self)
    cdef object _receive_on(self)
    cdef object _start_receiving(self)
    cdef object _stop_receiving(self)
    cdef object _on_receive(self, long long result, int flags, object data)
    @cython.locals(kind=int)
    cdef object _deliver_data(self, object data)
    cdef object _hold(self, object data)
    @cython.locals(share=Py_ssize_t, size=Py_ssize_t, received=Py_ssize_t)
    cdef object _receive_into_protocol(self)
    cdef object _on_eof(self)
    cdef object _read_failed(self, long long result)
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
    cdef object _force_close(self, object exc)
    cdef object _release(self)
    cdef object _remember_local(self)
    cdef object _socket_info(self)
