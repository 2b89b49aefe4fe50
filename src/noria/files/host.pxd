from noria.engines.interface cimport Engine
from noria.loop.core cimport LoopCore


cdef int _ECANCELED


cdef class Host:
    cdef public object loop
    cdef public Engine engine
    cdef public LoopCore core
    cdef public bint native
    cdef public bint measuring
    cdef public bint naming
    cdef public int names_way
    cdef public object woken
    cdef public long long in_flight
    cdef public int hits
    cdef public object spare
    cdef public list refused
    cdef public bint _retrying
    cdef object __weakref__

    cpdef object call_soon(self, object callback, object argument, object context)
    cpdef object submitted(self)
    cpdef object refuse(self, object op)
    cpdef object end(self, bint telling)
