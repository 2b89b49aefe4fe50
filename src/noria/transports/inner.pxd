from noria.transports.base cimport BaseTransport


cdef class Inner(BaseTransport):
    cdef object _take(self, object data)
