from libc.stdint cimport int64_t, uint64_t
from noria.native.transfer cimport Transfer


cdef extern from *:
    """
    #include <stdint.h>

    /* struct iocb and struct io_event (io_submit(2), io_getevents(2)) in declarations of our own:
       the layouts are part of the kernel's ABI. */
    struct noria_iocb {
        uint64_t data;
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        uint32_t rw_flags, key;
    #else
        uint32_t key, rw_flags;
    #endif
        uint16_t opcode;
        int16_t priority;
        uint32_t fd;
        uint64_t memory, size;
        int64_t offset;
        uint64_t reserved;
        uint32_t flags, bell;
    };

    enum { NORIA_AIO_IDLE, NORIA_AIO_GATHERED, NORIA_AIO_GIVEN, NORIA_AIO_ENDED };

    struct noria_lent {
        struct noria_iocb iocb;
        struct noria_lent *next, *before;
        void *owner;
        long long result;
        int state, refused;
    };
    """
    struct noria_lent:
        noria_lent *next
        void *owner
        long long result
        int state
        int refused
    struct noria_aio:
        pass


cdef class Iocb(Transfer):
    cdef noria_lent _lent

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice)
    cpdef bint refused(self) noexcept


cdef class AioContext:
    cdef noria_aio *_aio
    cdef int _pid

    cpdef int submit(self, Iocb request) except? -1
    cpdef bint cancel(self, Iocb request) except -1
    cpdef bint flush(self) noexcept
    cpdef list reap(self, int count)
    cpdef list close(self, long long timeout_ns)
    cpdef int in_flight(self) noexcept


cpdef int probe() noexcept
