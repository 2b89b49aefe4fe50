from noria.engines.readiness cimport ReadinessEngine
from noria.engines.ring_single cimport RingSingle
from noria.native cimport ring as native_ring

cdef int _READABLE


cdef class RingBell(RingSingle):
    cdef int _ring_bell
    cdef bint _ring_told

    cdef int _watch_waker(self) except -1000
    cdef int _watch_ring(self) except? -1000
    cpdef object take_news(self, int fd, int ready)
    cdef object _hear_ring(self)
    cdef bint _left_over(self) except -1
    cdef object _close_bell(self)
