cimport cython
from noria.native cimport pipes as native
from noria.transports.flow cimport WriteFlow
from noria.transports.pipe cimport PipeTransport, PipeWait

cdef int _EAGAIN
cdef int _LOSSES_LOGGED
cdef Py_ssize_t _DEFAULT_BYTES


cdef class WritePipeTransport(PipeTransport):
    cdef readonly WriteFlow _flow
    cdef public PipeWait _writable
    cdef int _writes_lost

    cdef object _write_after_loss(self)
    cdef object _write_failed(self, long long result)
    @cython.locals(taken=Py_ssize_t)
    cdef object _write_more(self)
    cpdef object _wait_for_peer(self)
    cpdef object _on_news(self, PipeWait op, long long result)
    cdef object _on_reader_gone(self)
    cpdef object _look(self)
    cpdef object _force_close(self, object exc)
    cdef object _end_waits(self)
    cdef list _state(self)
    cdef object _maybe_pause_protocol(self)
    cdef object _maybe_resume_protocol(self)
