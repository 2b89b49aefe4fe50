cimport cython


@cython.final
cdef class Queue:
    cdef list _items
    cdef Py_ssize_t _head
    cdef Py_ssize_t _count
    cdef Py_ssize_t _mask

    cpdef int append(self, object item) except -1
    cpdef object popleft(self)
    cpdef int clear(self) except -1
    cpdef Py_ssize_t size(self) noexcept
    cdef int _grow(self) except -1
