cimport cython


cdef extern from *:
    """
    typedef struct {
        PyObject **places;
        Py_ssize_t head;
        Py_ssize_t count;
        Py_ssize_t mask;
    } noria_ring;
    """
    ctypedef struct noria_ring:
        void **places
        Py_ssize_t head
        Py_ssize_t count
        Py_ssize_t mask


@cython.final
cdef class Queue:
    cdef noria_ring _ring
    cdef list _items

    cpdef int append(self, object item) except -1
    cpdef object popleft(self)
    cpdef int clear(self) except -1
    cpdef Py_ssize_t size(self) noexcept
    cdef object _use(self, list items, Py_ssize_t count)
    cdef int _grow(self) except -1
