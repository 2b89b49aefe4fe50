cdef class Inner:
    cdef object __weakref__

    cdef object _take(self, object data)
