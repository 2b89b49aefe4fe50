cimport cython

cdef int _AUTOMATIC
cdef int _BY_THREAD
cdef int _MEASURED
cdef long long _SAMPLES_MIN
cdef int _RUN
cdef long long _PAUSE_MIN
cdef long long _PAUSE_MAX
cdef int _BY_ENGINE
cdef int _BY_THREADS
cdef int _CHOSEN


@cython.final
cdef class Ways:
    cdef public double fraction
    cdef public long long engine_count
    cdef public long long thread_count
    cdef public double engine_ns
    cdef public double thread_ns
    cdef int _stage
    cdef int _way
    cdef int _last
    cdef long long _left
    cdef long long _pause

    cpdef bint are_known(self) except -1
    cpdef bint prefers_thread(self) except -1
    cpdef int choose(self) except -1
    cdef object _turn(self)
    @cython.locals(way=int)
    cdef object _settle(self)
    @cython.locals(weight=double)
    cpdef object note(self, int way, long long nanoseconds)
