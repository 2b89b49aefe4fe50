cimport cython


@cython.final
cdef class WriteFlow:
    cdef object _chunks
    cdef public Py_ssize_t size
    cdef public Py_ssize_t offset
    cdef public object high  # any number that asyncio takes
    cdef public object low
    cdef public bint paused
    cdef public object file

    cpdef object add(self, bytes chunk, Py_ssize_t start)
    cpdef object put_first(self, bytes chunk, Py_ssize_t sent)
    cpdef list vector(self)
    @cython.locals(size=Py_ssize_t)
    cpdef object piece(self, Py_ssize_t size_max)
    cpdef object consume(self, Py_ssize_t sent)
    cpdef object clear(self)
