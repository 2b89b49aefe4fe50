from noria.native.transfer cimport Transfer


cdef extern from "noria/native/crew.h":
    struct noria_job:
        noria_job *next
        noria_job *before
        void *owner
        int kind
        int fd
        int parts
        int advice
        int beside
        const char *name
        const char *second
        void *memory
        size_t size
        long long offset
        long long result
        unsigned long long device
        unsigned int mode
        int state
    struct noria_crew:
        pass


cdef class Job(Transfer):
    cdef noria_job _job
    cdef bytes name
    cdef bytes second
    cdef object _crew

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice)
    cpdef object set_beside(self)
    cpdef object set_names(self, bytes name, bytes second)
    cpdef tuple opened(self)


cdef class Crew:
    cdef noria_crew *_crew
    cdef int _pid

    cpdef int submit(self, Job job) except? -1
    cpdef bint cancel(self, Job job) except -1
    cpdef bint flush(self, bint patient=*) except -1
    cpdef list reap(self, int count)
    cpdef int count(self, int which) noexcept
    cpdef list close(self, long long timeout_ns)
