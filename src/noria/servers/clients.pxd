cimport cython
from noria.native.members cimport Members
from noria.transports.stream cimport StreamTransport


@cython.final
cdef class Clients:
    cdef Members _own
    cdef object _others

    cpdef object add(self, object transport)
    cpdef object discard(self, object transport)
