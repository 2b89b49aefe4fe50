cimport cython
from noria.core.descriptor cimport Descriptor
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.native cimport pipes as native
from noria.transports.base cimport BaseTransport

cdef int _EAGAIN
cdef Py_ssize_t _READ_BYTES
cdef Py_ssize_t _SMALL_BYTES
cdef Py_ssize_t _DEFAULT_BYTES


@cython.final
cdef class PipeWait(Operation):
    cdef public PipeTransport transport
    cdef public bint waiting


cdef class PipeTransport(BaseTransport):
    cdef public Descriptor _descriptor
    cdef public PipeWait _readable
    cdef public object _extra
    cdef public object _pipe
    cdef public int _fd
    cdef public bint _started
    cdef public bint _closing
    cdef public bint _lost
    cdef public bint _grows

    cdef object _wait(self, PipeWait op)
    cdef object _grow(self)
    cpdef object _wait_for_peer(self)
    cpdef object _on_news(self, PipeWait op, long long result)
    cpdef object _force_close(self, object exc)
    cpdef object _release(self)
    cpdef object _look(self)
    cdef object _end_waits(self)
    cdef list _state(self)


cdef class ReadPipeTransport(PipeTransport):
    cdef public bint _paused
    cdef bint _small

    cpdef bint is_reading(self) except -1
    cpdef object _wait_for_peer(self)
    cpdef object _on_news(self, PipeWait op, long long result)
    @cython.locals(size=Py_ssize_t)
    cdef bint _read(self) except -1
    cdef object _read_failed(self, long long result)
    cdef object _on_eof(self)
    cdef bint _is_ordinary(self, object exc) except -1
    cpdef object _look(self)
    cdef list _state(self)
