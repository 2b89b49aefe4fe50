cimport cython
from noria.core.operation cimport Operation


@cython.final
cdef class Slot:
    # Small types, because every connection has a slot.
    cdef public int fd
    cdef public unsigned char interest
    cdef public unsigned char ready
    cdef public unsigned char level
    cdef public unsigned char listed
    cdef public unsigned char leaving
    cdef public unsigned char vain
    cdef public long long generation
    cdef public Operation reader
    cdef public Operation writer
    cdef public Operation native
    cdef public list readers
    cdef public list writers
    cdef public object holder

    cpdef list operations(self)
    cpdef list take_operations(self)


@cython.final
cdef class SlotTable:
    cdef list _slots

    cdef Slot get(self, int fd)
    cdef object put(self, Slot slot)
    cdef Slot pop(self, int fd)
    cdef list all(self)
