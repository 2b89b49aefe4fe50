cimport cython
from cpython.ref cimport PyObject


@cython.final
cdef class Block:
    cdef PyObject *_memory
    cdef Py_ssize_t _size

    cpdef object view(self)
    cpdef bytes take(self, Py_ssize_t size)
