from noria.core.completion cimport Completions
from noria.core.operation cimport Operation


cdef class Engine:
    cdef object __weakref__
    cdef public bint closed
    cdef public bint acted
    cdef public bint forked
    cdef public bint signalled
    cdef public bint deferring
    cdef public bint write_through
    cdef public bint restricted

    cpdef bint submit(self, Operation op) except? -1
    cpdef long long try_send(self, int fd, object sock, object data,
                             Py_ssize_t offset) except? -1
    cpdef object defer(self, Operation op)
    cpdef object withdraw(self, Operation op)
    cpdef object flush(self)
    cpdef object cancel(self, Operation op)
    cpdef int poll(self, long long timeout_ns, Completions batch) except -1
    cpdef object forget(self, int fd)
    cpdef bint owned(self, object fd) except -1
    cpdef object note_attempt(self, int fd, object sock, bint vain)
    cpdef bint expects_vain(self, int fd, object sock) except -1


cdef class NewsSink:
    cpdef object news(self, int fd, int ready)


cdef class Poller:
    cdef public bint edge
    cdef public bint lasting

    cpdef int modify(self, int fd, int old, int new, bint level) except? -1
    cpdef int wait(self, long long timeout_ns, NewsSink sink) except -1
