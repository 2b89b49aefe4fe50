from noria.native cimport clock as native


cpdef long long nanoseconds_at(double when) noexcept


cdef class Clock:
    cpdef long long now_ns(self) except? -1


cdef class MonotonicClock(Clock):
    cpdef long long now_ns(self) except? -1
