from noria.native.transfer cimport Transfer


cdef extern from "noria/native/posix_aio.h":
    struct noria_control:
        noria_control *next
        void *owner
        long long result
        int refused
    struct noria_posix_lists "noria_controls":
        noria_control *first
        int count
    struct noria_posix:
        noria_posix_lists given
        int signal
        int helping


cdef class Aiocb(Transfer):
    cdef noria_control _control

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice)
    cpdef bint refused(self) noexcept


cdef class AioQueue:
    cdef noria_posix *_queue
    cdef int _pid

    cpdef int submit(self, Aiocb request) except? -1
    cpdef bint cancel(self, Aiocb request) except -1
    cpdef bint flush(self) noexcept
    cpdef list reap(self, int count)
    cpdef int attend(self) except? -2
    cpdef stop(self)
    cpdef list close(self, long long timeout_ns)
    cpdef int in_flight(self) noexcept
    cpdef int threads(self) noexcept


cpdef int probe(int mode) noexcept
cpdef int free_signal() noexcept
