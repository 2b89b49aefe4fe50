from libc.stdint cimport int64_t
cimport cython


cdef Py_ssize_t _ROOM


cdef class TimerEntry:
    cdef public long long deadline_ns
    cdef public long long sequence
    cdef public unsigned char scheduled
    cdef public unsigned char dead


cdef bint earlier(TimerEntry one, TimerEntry other) noexcept


@cython.final
cdef class Timers:
    cdef list _heap
    cdef public Py_ssize_t count
    cdef long long _sequence
    cdef public Py_ssize_t cancelled

    @cython.locals(heap=list, position=Py_ssize_t)
    cpdef object add(self, TimerEntry entry, long long deadline_ns)
    @cython.locals(heap=list)
    cpdef object cancel(self, TimerEntry entry)
    @cython.locals(entry=TimerEntry)
    cpdef int64_t next_deadline_ns(self) except? -1
    @cython.locals(entry=TimerEntry)
    cpdef TimerEntry pop_due(self, long long now_ns)
    @cython.locals(heap=list, count=Py_ssize_t, position=Py_ssize_t)
    cpdef object clear(self)
    @cython.locals(heap=list, top=TimerEntry, last=Py_ssize_t)
    cdef TimerEntry _pop(self)
    @cython.locals(entry=TimerEntry, living=list, position=Py_ssize_t)
    cdef object _sweep(self)
    @cython.locals(heap=list, entry=TimerEntry, above=TimerEntry, parent=Py_ssize_t)
    cdef object _rise(self, Py_ssize_t position)
    @cython.locals(heap=list, entry=TimerEntry, below=TimerEntry, right=TimerEntry,
                   child=Py_ssize_t, size=Py_ssize_t)
    cdef object _sink(self, Py_ssize_t position)
