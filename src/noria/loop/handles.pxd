cimport cython
from noria.core.timers cimport TimerEntry
from noria.loop.core cimport LoopCore
from noria.native cimport calls as native

cdef Py_ssize_t _SPARE_MAX


cdef class Handle(TimerEntry):
    cdef object __weakref__
    cdef public LoopCore _loop
    cdef public object _callback
    cdef public tuple _args
    cdef public object _context
    cdef public bint _cancelled
    cdef public object _repr
    cdef public object _source_traceback

    cpdef object _run(self)


cdef class TimerHandle(Handle):
    cdef double _due
    cdef public object _given


@cython.final
cdef class Spares:
    cdef Handle _first
    cdef Py_ssize_t _count

    @cython.locals(handle=Handle)
    cdef Handle take(self)
    cdef object keep(self, Handle handle)
    cdef object clear(self)


@cython.locals(handle=Handle)
cdef Handle make_handle(LoopCore loop, object callback, tuple args, object context)
@cython.locals(handle=TimerHandle)
cdef TimerHandle make_timer(LoopCore loop, double when, object callback, tuple args,
                            object context)
cdef object _begin(Handle handle, LoopCore loop)
