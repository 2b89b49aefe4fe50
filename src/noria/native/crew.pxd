from noria.native.transfer cimport Transfer


cdef extern from *:
    """
    #include <stddef.h>

    enum { NORIA_IDLE_JOB, NORIA_QUEUED, NORIA_RUNNING, NORIA_DONE };

    struct noria_job {
        struct noria_job *next, *before;
        void *owner;
        int kind, fd, parts, advice;
        const char *name;
        void *memory;
        size_t size;
        long long offset, result;
        int state;
    };
    """
    struct noria_job:
        noria_job *next
        noria_job *before
        void *owner
        int kind
        int fd
        int parts
        int advice
        const char *name
        void *memory
        size_t size
        long long offset
        long long result
        int state
    struct noria_crew:
        pass


cdef class Job(Transfer):
    cdef noria_job _job
    cdef bytes name
    cdef object _crew

    cpdef object set_name(self, bytes name)


cdef class Crew:
    cdef noria_crew *_crew
    cdef int _pid

    cpdef int submit(self, Job job) except? -1
    cpdef bint cancel(self, Job job) except -1
    cpdef bint flush(self) noexcept
    cpdef list reap(self, int count)
    cpdef int count(self, int which) noexcept
    cpdef list close(self, long long timeout_ns)
