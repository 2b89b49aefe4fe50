from noria.loop.core cimport LoopCore
from noria.transports.flow cimport WriteFlow


cdef class BaseTransport:
    cdef object __weakref__
    cdef readonly LoopCore _loop
    cdef readonly object _context
    cdef readonly object _protocol

    cdef object _pause_protocol(self, WriteFlow flow)
    cdef object _resume_protocol(self, WriteFlow flow)
    cdef object _call_flow_method(self, str name)
    cpdef object _report(self, object exc, str message)
    cpdef object _fatal_error(self, object exc, str message=*)
    cdef object _user_error(self, object exc, str message)
    cdef bint _is_ordinary(self, object exc) except -1
    cpdef object _force_close(self, object exc)
