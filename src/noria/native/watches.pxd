cpdef int watch_open() except? -1
cpdef int watch_add(int fd, bytes name, unsigned int mask) except? -1
cpdef int watch_remove(int fd, int watch) except? -1
