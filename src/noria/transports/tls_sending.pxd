cimport cython
from noria.native cimport bio
from noria.transports.flow cimport WriteFlow
from noria.transports.tls_session cimport TLSSession

cdef Py_ssize_t _PIECE
cdef Py_ssize_t _BATCH
cdef Py_ssize_t _KEPT
cdef int _LOSSES_LOGGED
cdef int _NEW
cdef int _HANDSHAKE
cdef int _OPEN
cdef int _FLUSHING


cdef class TLSSending(TLSSession):
    @cython.locals(flow=WriteFlow, size=Py_ssize_t, sent=Py_ssize_t)
    cdef object _write_data(self, object data)
    cdef object _write_after_end(self)
    @cython.locals(count=Py_ssize_t)
    cdef Py_ssize_t _encrypt(self, object data) except -1
    @cython.locals(size=Py_ssize_t, sent=Py_ssize_t, until=Py_ssize_t, count=Py_ssize_t, records=list)
    cdef Py_ssize_t _encrypt_all(self, object data) except -1
    @cython.locals(flow=WriteFlow, count=Py_ssize_t)
    cdef object _send_backlog(self)
    cdef object _take_over_pause(self)
    @cython.locals(flow=WriteFlow)
    cdef WriteFlow _make_flow(self)
    cdef object _maybe_pause_protocol(self, WriteFlow flow)
    cdef object _maybe_resume_protocol(self, WriteFlow flow)
