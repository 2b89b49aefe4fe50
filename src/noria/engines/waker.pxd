cimport cython


@cython.final
cdef class Waker:
    cdef public object _lock
    cdef object _reader
    cdef object _writer
    cdef public bint noted
    cdef public bint sleeping
    cdef public long long sent

    cpdef object wake(self)
