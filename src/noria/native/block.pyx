"""Block: a bytes object that is filled after it was made, so what was received is not copied."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport Py_XDECREF, PyObject

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize(const char *text, Py_ssize_t size)
    int _PyBytes_Resize(PyObject **text, Py_ssize_t size) except -1


cdef class Block:
    """Memory of `size` bytes that becomes a bytes object."""

    def __cinit__(self, Py_ssize_t size):
        self._memory = PyBytes_FromStringAndSize(NULL, size)
        if self._memory == NULL:
            raise MemoryError
        self._size = size

    def __dealloc__(self):
        Py_XDECREF(self._memory)

    cpdef object view(self):
        """Give a writable view, which must be let go of before `take`."""
        assert self._memory != NULL
        return PyMemoryView_FromMemory(PyBytes_AS_STRING(<object>self._memory), self._size,
                                       PyBUF_WRITE)

    cpdef bytes take(self, Py_ssize_t size):
        """Give the first `size` bytes, once; the block is used up."""
        cdef bytes taken
        assert 0 <= size <= self._size and self._memory != NULL
        if size != self._size:
            _PyBytes_Resize(&self._memory, size)
        taken = <bytes>self._memory
        Py_XDECREF(self._memory)
        self._memory = NULL
        return taken
