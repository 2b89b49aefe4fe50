cpdef object read(int fd, Py_ssize_t size, bint small=*)
cpdef long long write(int fd, object data, Py_ssize_t offset) except? -1
cpdef long long write_vector(int fd, list chunks, Py_ssize_t offset) except? -1
