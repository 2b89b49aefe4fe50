from cpython.object cimport PyObject
from libc.stdint cimport uint64_t


cdef extern from "noria/native/ring.h":
    struct noria_cqe:
        uint64_t user_data
        int res
        unsigned int flags
    struct noria_ring:
        int fd
        unsigned int features
        unsigned int *cq_head
        unsigned int cq_mask
        noria_cqe *cqes
    struct noria_group:
        char *memory
        unsigned int count
        unsigned int size


cdef class Lent:
    cdef readonly uint64_t address
    cdef readonly Py_ssize_t size
    cdef Py_buffer _view
    cdef bint _viewed
    cdef PyObject *_made

    cpdef bytes written(self, Py_ssize_t size)


cdef class Ring:
    cdef noria_ring _ring
    cdef noria_group _group
    cdef public object token
    cdef public int tag
    cdef public int result
    cdef public bint more
    cdef public long long calls
    cdef public long long taken
    cdef long long _slack_ns
    cdef unsigned int _looked_at
    cdef int _buffer
    cdef int _group_number
    cdef unsigned int _provided
    cdef int _pid

    cpdef int fileno(self) noexcept
    cpdef unsigned int features(self) noexcept
    cpdef int bound_workers(self, unsigned int most) except? -1
    cpdef int restrict(self) except? -1
    cpdef bint supports(self, int operation) noexcept
    cpdef int enable(self) except? -1
    cpdef int ring_bell(self, int bell) except? -1
    cpdef int make_group(self, int number, unsigned int count, unsigned int size) except? -1
    cpdef unsigned int provide(self, unsigned int count) noexcept
    cpdef unsigned int buffer_size(self) noexcept
    cdef bint _fill(self, int opcode, int fd, uint64_t address, unsigned int length,
                    unsigned int op_flags, int priority, int flags, uint64_t user_data) noexcept
    cpdef bint prepare_receive(self, object token, int fd) noexcept
    cpdef bint prepare_accept(self, object token, int fd) noexcept
    cpdef bint prepare_send(self, object token, int fd, object data, Py_ssize_t offset) noexcept
    cpdef bint prepare_call(self, object token, int operation, int fd, uint64_t address,
                            uint64_t offset, unsigned int length, unsigned int flags,
                            bint blocks) noexcept
    cpdef bint prepare_poll(self, int tag, int fd) noexcept
    cpdef bint prepare_cancel(self, object token) noexcept
    cpdef bint prepare_cancel_fd(self, int fd) noexcept
    cpdef bint prepare_cancel_all(self) noexcept
    cpdef unsigned int queued(self) noexcept
    cpdef unsigned int completed(self) noexcept
    cpdef list take_all(self, object token)
    cpdef bint send_failed(self) noexcept
    cpdef bint overflowed(self) noexcept
    cpdef bint pending(self) noexcept
    cpdef int enter(self, long long timeout_ns) except? -1
    cpdef int submit(self) except? -1
    cpdef bint take(self) except? -1
    cpdef object received(self)
    cdef void _return_buffer(self) noexcept
    cpdef object close(self)
    cpdef object abandon(self)
