from noria.native.awaits cimport Awaited


cdef class NextLine(Awaited):
    pass


cdef class Lines:
    cdef object more
    cdef Py_UCS4 end
    cdef public object data
    cdef public Py_ssize_t at
    cdef NextLine _line

    cpdef object next_line(self)
