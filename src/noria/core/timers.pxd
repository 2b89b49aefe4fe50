from libc.stdint cimport int64_t
cimport cython


cdef class TimerEntry:
    cdef public long long deadline_ns
    cdef public long long sequence
    cdef public bint scheduled
    cdef public bint dead


cdef bint earlier(TimerEntry one, TimerEntry other) noexcept


@cython.final
cdef class Timers:
    cdef list _heap
    cdef long long _sequence
    cdef public Py_ssize_t cancelled

    cpdef Py_ssize_t size(self)
    @cython.locals(heap=list)
    cpdef object add(self, TimerEntry entry, long long deadline_ns)
    @cython.locals(heap=list, last=Py_ssize_t)
    cpdef object cancel(self, TimerEntry entry)
    @cython.locals(heap=list, entry=TimerEntry)
    cpdef int64_t next_deadline_ns(self) except? -1
    @cython.locals(heap=list, entry=TimerEntry)
    cpdef TimerEntry pop_due(self, long long now_ns)
    @cython.locals(entry=TimerEntry)
    cpdef object clear(self)
    @cython.locals(heap=list, top=TimerEntry, last=TimerEntry)
    cdef TimerEntry _pop(self)
    @cython.locals(entry=TimerEntry, living=list, position=Py_ssize_t)
    cdef object _sweep(self)
    @cython.locals(heap=list, entry=TimerEntry, above=TimerEntry, parent=Py_ssize_t)
    cdef object _rise(self, Py_ssize_t position)
    @cython.locals(heap=list, entry=TimerEntry, below=TimerEntry, right=TimerEntry,
                   child=Py_ssize_t, size=Py_ssize_t)
    cdef object _sink(self, Py_ssize_t position)
