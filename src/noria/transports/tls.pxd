cimport cython
from noria.native cimport bio, calls
from noria.native.block cimport Block
from noria.transports.inner cimport Inner
from noria.transports.tls_sending cimport TLSSending

cdef Py_ssize_t _FEED
cdef Py_ssize_t _KEPT
cdef Py_ssize_t _DELIVERY
cdef Py_ssize_t _HEADER
cdef Py_ssize_t _OVERHEAD
cdef Py_ssize_t _PLAIN_MAX
cdef Py_ssize_t _RECORD_MAX
cdef int _NEW
cdef int _HANDSHAKE
cdef int _OPEN
cdef int _FLUSHING
cdef int _ENDING


@cython.final
cdef class TLSTransport(TLSSending):
    @cython.locals(data=bytes, at=Py_ssize_t, size=Py_ssize_t, piece=Py_ssize_t)
    cdef bint _feed(self) except -1
    @cython.locals(data=bytes)
    cdef bint _complete_header(self) except -1
    @cython.locals(length=Py_ssize_t)
    cdef Py_ssize_t _record_size(self, bytes data, Py_ssize_t at, Py_ssize_t size) except -1
    cdef object _receive(self)
    cdef object _receive_record(self)
    @cython.locals(size=Py_ssize_t, filled=Py_ssize_t, block=Block)
    cdef object _receive_records(self)
    @cython.locals(hint=Py_ssize_t, size=Py_ssize_t, filled=Py_ssize_t)
    cdef object _receive_into_protocol(self)
    @cython.locals(filled=Py_ssize_t, count=Py_ssize_t)
    cdef Py_ssize_t _fill(self, object memory, Py_ssize_t size) except -1
    @cython.locals(more=Py_ssize_t)
    cdef object _look_for_more(self)
    @cython.locals(inner=Inner)
    cdef object _deliver(self, object data)
    cdef object _act_on_verdict(self)
    cdef object _discard(self)
