cimport cython
from noria.core.operation cimport Operation


@cython.final
cdef class Completion:
    cdef public Operation operation
    cdef public long long result
    cdef public int flags
    cdef public object data


@cython.final
cdef class Completions:
    cdef public list entries
    cdef public Py_ssize_t count
    cdef public Py_ssize_t position

    @cython.locals(entry=Completion)
    cpdef object add(self, Operation operation, long long result, int flags, object data)
    @cython.locals(entry=Completion, operation=Operation)
    cpdef object deliver_all(self)
    @cython.locals(entry=Completion, operation=Operation)
    cpdef object discard_all(self)
