cimport cython

cdef int _AUTOMATIC
cdef int _BY_THREAD
cdef int _MEASURED
cdef long long _SAMPLES_MIN
cdef long long _TRIAL_EVERY


@cython.final
cdef class Ways:
    cdef public double fraction
    cdef public long long engine_count
    cdef public long long thread_count
    cdef public double engine_ns
    cdef public double thread_ns
    cdef long long _chosen

    cpdef bint are_known(self) except -1
    cpdef bint prefers_thread(self) except -1
    @cython.locals(by_thread=bint, turn=cython.longlong, way=int)
    cpdef int choose(self) except -1
    @cython.locals(weight=double)
    cpdef object note(self, int way, long long nanoseconds)
