cpdef object writable_view(object buffer)
cpdef bint fits(object memory, long alignment, long long offset, Py_ssize_t size) except -1
