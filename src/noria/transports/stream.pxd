cimport cython
from noria.native cimport calls
from noria.native cimport sockets as native
from noria.transports.inner cimport Inner
from noria.transports.reading cimport ReceiveOperation
from noria.transports.sending cimport SendingTransport

cdef int _RECEIVE
cdef int _WAIT_READABLE
cdef Py_ssize_t _SIZE
cdef Py_ssize_t _SHARE
cdef int _EAGAIN
cdef int _ECANCELED
cdef int _STOPPED
cdef int _RECEIVING
cdef int _CANCELLING


cdef class StreamTransport(SendingTransport):
    cdef object _take_protocol(self, object protocol)
    cpdef object _set_nodelay(self)
    cdef object _start_receiving(self)
    cdef object _on_receive(self, long long result, int flags, object data)
    @cython.locals(inner=Inner)
    cdef object _deliver_data(self, object data)
    cdef object _deliver_held(self, object held)
    @cython.locals(share=Py_ssize_t, size=Py_ssize_t, received=Py_ssize_t)
    cdef object _receive_into_protocol(self)
    cdef object _on_eof(self)
    cdef object _read_failed(self, long long result)
