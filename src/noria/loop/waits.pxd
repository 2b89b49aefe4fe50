cimport cython
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.loop.handles cimport Handle


cdef class FutureOperation(Operation):
    cdef public object future


cdef class WatchOperation(Operation):
    cdef public object file
    cdef public LoopCore loop
    cdef public Handle handle


@cython.locals(op=FutureOperation)
cpdef FutureOperation wait_for(LoopCore loop, int code, object sock, int fd)
