cimport cython
from noria.core cimport clock as _clock
from noria.core.clock cimport Clock
from noria.core.completion cimport Completions
from noria.core.operation cimport Operation
from noria.core.timers cimport TimerEntry, Timers
from noria.engines.interface cimport Engine
from noria.loop cimport handles as _handles
from noria.loop.handles cimport Handle, Spares, TimerHandle
from noria.native cimport calls as native
from noria.native.queue cimport Queue

cdef long long _TURNS_MAX
cdef long long _BURST_NS_MAX


cdef class LoopCore:
    cdef object __weakref__
    cdef public Engine _engine
    cdef public Clock _clock
    cdef public Timers _timers
    cdef public Queue _ready
    cdef public object _inbox
    cdef public Completions _batch
    cdef public bint _debug
    cdef public bint _stopping
    cdef public bint _closed
    cdef public object _thread_id
    cdef public object _current_handle
    cdef public list _spare_sends
    cdef public object _file_host
    cdef dict _own_keywords
    cdef public object _task_factory
    cdef public Spares _spare_handles
    cdef public Spares _spare_timers
    cdef long long _recent_ns
    cdef public object slow_callback_duration

    cdef object _soon(self, object callback, tuple args, object context)
    cdef object _new_future(self)
    @cython.locals(seconds=double)
    cdef double _seconds_from_now(self, object delay) except? -1
    cdef TimerHandle _call_at(self, double when, object callback, tuple args, object context)
    cpdef bint submit(self, Operation op) except? -1
    cpdef object cancel_operation(self, Operation op)
    cpdef object forget(self, int fd)
    cpdef object _run_turns(self)
    @cython.locals(timeout_ns=cython.longlong, deadline_ns=cython.longlong, older=Py_ssize_t)
    cdef object _run_turn(self)
    @cython.locals(ready=Queue, timers=Timers, generations=cython.longlong, started_ns=cython.longlong,
                   now_ns=cython.longlong, count=Py_ssize_t, engine=Engine)
    cdef object _run_ready(self)
    @cython.locals(ready=Queue, handle=Handle)
    cdef object _run_generation(self, Py_ssize_t count)
    @cython.locals(entry=TimerEntry)
    cdef object _take_due_timers(self)
    cdef object _run_generation_in_debug(self, Py_ssize_t count)
    cdef object _run_in_debug(self, Handle handle)
    cdef object _run_now(self, Handle handle)
