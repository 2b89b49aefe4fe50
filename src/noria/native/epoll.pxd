cimport cython


@cython.final
cdef class EpollSet:
    cdef int _fd
    cdef void *_events
    cdef int _capacity
    cdef bint _precise
    cdef long long _slack_ns
    cdef unsigned int *_tags
    cdef int _tags_count
    cdef unsigned int _last_tag
    cdef public int count

    cdef int _reserve(self, int fd) except -1
    cdef unsigned int _new_tag(self)
    cpdef int add(self, int fd, unsigned int events) except? -1
    cpdef int modify(self, int fd, unsigned int events) except? -1
    cpdef int remove(self, int fd) except? -1
    cpdef int wait(self, long long timeout_ns) except? -1
    cpdef int fd_at(self, int index) noexcept
    cpdef unsigned int events_at(self, int index) noexcept
