cimport cython


cdef extern from *:
    """
    typedef struct {
        PyObject **places;
        size_t mask;
        Py_ssize_t count;
    } noria_table;
    """
    ctypedef struct noria_table:
        void **places
        size_t mask
        Py_ssize_t count


@cython.final
cdef class Members:
    cdef noria_table _table

    cpdef int add(self, object member) except -1
    cpdef object discard(self, object member)
    cpdef list copy(self)
