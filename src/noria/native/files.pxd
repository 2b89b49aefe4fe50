cpdef object read_now(int fd, Py_ssize_t size, long long offset, bint plain)
cpdef long long read_now_into(int fd, object buffer, long long offset, bint plain) except? -1
cpdef long long open_now(bytes name, int flags) except? -1
