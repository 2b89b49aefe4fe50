cimport cython
from noria.core.descriptor cimport Descriptor
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.transports.datagram_sender cimport DatagramSender
from noria.transports.reading cimport ReceiveOperation

cdef int _RECEIVE_DATAGRAMS
cdef Py_ssize_t _BATCH_MAX
cdef int _ECANCELED
cdef int _STOPPED
cdef int _RECEIVING


cdef class DatagramTransport(DatagramSender):
    cdef object _start_receiving(self)
    cdef object _on_receive(self, long long result, int flags, object data)
    @cython.locals(count=Py_ssize_t, position=Py_ssize_t, interrupted=bint)
    cdef object _deliver_batch(self, list batch)
    cdef object _deliver_held(self, object held)
