cdef enum:
    DONE_NOW = 1  # DONE, for the compiler


cdef class Awaited:
    # In this order: awaits.pyx has the same in C.
    cdef public int stage
    cdef public bint _asyncio_future_blocking
    cdef public int spare
    cdef public object outcome

    cpdef object result(self)


cpdef bint is_spare(Awaited made) noexcept
cpdef bint is_wakeup(object callback) noexcept
