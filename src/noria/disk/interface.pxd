from noria.core.operation cimport Operation


cdef class DiskBackend:
    cdef object _wake
    cdef int _bell
    cdef object _spill

    cpdef int submit(self, Operation op) except? -1
    cpdef bint cancel(self, Operation op) except -1
    cpdef bint flush(self, bint patient=*) except -1
    cpdef object reap(self, list done, int count)
    cpdef object close(self, list done)
