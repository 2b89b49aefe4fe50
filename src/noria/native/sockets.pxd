cpdef object receive(int fd, object sock, Py_ssize_t size)
cpdef object receive_large(int fd, object sock, Py_ssize_t size)
cpdef long long receive_into(int fd, object sock, object view) except? -1
cpdef long long send(int fd, object sock, object data, Py_ssize_t offset) except? -1
cpdef long long send_vector(int fd, object sock, list chunks, Py_ssize_t offset) except? -1
cpdef object accept(int fd, object sock)
cpdef object address_of(object raw)
cpdef object raw_address(int family, object address)
cpdef object local_address(int fd, object sock)
cpdef object peer_address(int fd, object sock)
cpdef bint is_unix(int fd, object sock) noexcept
cpdef int set_nodelay(int fd, object sock, object raw_address) except? -1
cpdef int shutdown_writing(int fd, object sock) except? -1
