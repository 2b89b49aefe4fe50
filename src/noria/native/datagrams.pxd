cdef class Endpoint:
    cdef readonly int family
    cdef readonly bint coalescing
    cdef readonly bint drained
    cdef readonly Py_ssize_t received_bytes
    cdef int failure
    cdef bint is_ip
    cdef bint direct

    cpdef object receive(self, int fd, object sock, Py_ssize_t count)
    cdef object _split(self, int found)
    cdef object _receive_singly(self, int fd, object sock, Py_ssize_t count)
    cpdef object raw_address(self, object address)
    cpdef long long send(self, int fd, object sock, object data, object target) except? -1
    cpdef long long send_batch(self, int fd, object sock, list queue, Py_ssize_t first) except? -1
    cpdef long long send_segments(self, int fd, object sock, object data, Py_ssize_t start,
                                  Py_ssize_t size, int segment, object target) except? -1
    cpdef bint can_segment(self, int fd, object sock) except -1
    cpdef int coalesce(self, int fd, object sock, bint enabled) except? -1
