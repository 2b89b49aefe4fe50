from noria.native.awaits cimport Awaited


cdef class NextLine(Awaited):
    pass


cdef class Lines:
    cdef Py_UCS4 end
    cdef public object data
    cdef public Py_ssize_t at

    cpdef Py_ssize_t left(self) except -1
    cpdef object take(self, Py_ssize_t size)
    cpdef object next_line(self)


cdef class LineIterator:
    cdef Lines lines
    cdef object more
    cdef NextLine line
