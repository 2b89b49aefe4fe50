cimport cython
from noria.core.descriptor cimport Descriptor
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.transports.datagram_sender cimport DatagramSender

cdef int _RECEIVE_DATAGRAMS
cdef Py_ssize_t _BATCH_MAX
cdef int _ECANCELED
cdef int _STOPPED
cdef int _RECEIVING
cdef int _CANCELLING


@cython.final
cdef class ReceiveDatagrams(Operation):
    cdef public DatagramTransport transport


cdef class DatagramTransport(DatagramSender):
    cdef ReceiveDatagrams _receive
    cdef list _held
    cdef unsigned char _receiving
    cdef unsigned char _started
    cdef readonly unsigned char _paused

    cpdef object _begin(self, object waiter)
    cdef object _release(self)
    cdef list _state(self)
    cdef object _receive_on(self)
    cdef object _start_receiving(self)
    cdef object _stop_receiving(self)
    cdef object _on_receive(self, long long result, int flags, object data)
    @cython.locals(count=Py_ssize_t, position=Py_ssize_t, interrupted=bint)
    cdef object _deliver_batch(self, list batch)
    cdef object _hold(self, object data)
