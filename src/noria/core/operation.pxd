from noria.core.descriptor cimport Descriptor


cdef class Operation:
    cdef object __weakref__
    cdef public int code
    cdef public int lane
    cdef public int fd
    cdef public int state
    cdef public int route
    cdef public bint multishot
    cdef public bint borrowed
    cdef public bint expectant
    cdef public bint nowait
    cdef public bint cancelled
    cdef public object sock
    cdef public Descriptor descriptor
    cdef public object buffer
    cdef public object address
    cdef public Py_ssize_t size
    cdef public Py_ssize_t expected
    cdef public long long offset
    cdef public long long result

    cpdef long long perform(self) except? -1
    cpdef object begin(self, int route)
    cpdef object settle(self, long long result)
    cpdef object deliver(self, long long result, int flags, object data)
    cpdef object discard(self, long long result, object data)
