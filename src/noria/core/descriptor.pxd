from noria.native cimport calls


cdef long long _open_count


cdef class Descriptor:
    cdef public int fd
    cdef public int leases
    cdef public bint closing
    cdef public long long generation
    cdef object _sock
    cdef object _on_closed

    cpdef object lease(self)
    cpdef object release(self)
    cpdef bint close(self, object on_closed=*) except? -1
    cdef object _close_now(self)
