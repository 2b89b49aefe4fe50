cimport cython
from noria.core.operation cimport Operation
from noria.native cimport calls
from noria.transports.flow_connection cimport FlowConnection

cdef int _STOPPED
cdef int _RECEIVING
cdef int _CANCELLING


@cython.final
cdef class ReceiveOperation(Operation):
    cdef public ReadingConnection transport


cdef class ReadingConnection(FlowConnection):
    cdef ReceiveOperation _receive
    cdef list _held
    # Together eight bytes, because every connection has them; the last two are for streams.
    cdef unsigned char _receiving
    cdef readonly unsigned char _paused
    cdef unsigned char _started
    cdef unsigned char _buffered
    cdef unsigned char _inner

    cdef object _set_up_reading(self, ReceiveOperation receive)
    cdef object _start_receiving(self)
    cdef object _on_receive(self, long long result, int flags, object data)
    cdef object _deliver_held(self, object held)
    cpdef object _start(self, object waiter=*)
    cpdef object _begin(self, object waiter)
    cdef object _release(self)
    cdef list _state(self)
    cdef object _receive_on(self)
    cdef object _stop_receiving(self)
    cdef object _hold(self, object data)
