# cython: boundscheck=False, wraparound=False
"""Calls on stream sockets by descriptor number (recv(2), send(2), sendmsg(2), accept4(2)).

Nothing here releases the interpreter lock: the sockets are non-blocking, a call costs about as much
as handing the lock over, and small receives go through one warm buffer that the lock protects.
That buffer starts on a page: the kernel copies several times slower to an address in the first
bytes of a page that is not its start.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from cpython.object cimport PyObject
from libc.string cimport memset

import os
import socket as socket_module

COMPILED = True

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize_raw "PyBytes_FromStringAndSize"(const char *, Py_ssize_t)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size)
    void Py_DECREF_raw "Py_DECREF"(PyObject *data)

cdef extern from *:
    """
    #include <sys/types.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <sys/un.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <arpa/inet.h>
    #include <net/if.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <unistd.h>
    #include <stddef.h>
    #include <stdlib.h>

    #define NORIA_HOT_BYTES (256 * 1024)
    static char noria_hot[NORIA_HOT_BYTES] __attribute__((aligned(4096)));

    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif

    /* A socket that its user left in blocking mode must not stop the loop, lock held and all. */
    #ifndef MSG_DONTWAIT
    #define MSG_DONTWAIT 0
    #endif

    static ssize_t noria_receive(int fd, char *memory, size_t size) {
        ssize_t result;
        if (!size) return 0; /* as CPython; the kernel would wait, or eat a datagram */
        do { result = recv(fd, memory, size, MSG_DONTWAIT); } while (result < 0 && errno == EINTR);
        if (result < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return result;
    }

    static ssize_t noria_send(int fd, const char *memory, size_t size) {
        ssize_t result;
        do {
            result = send(fd, memory, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (result < 0 && errno == EINTR);
        if (result < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return result;
    }

    static ssize_t noria_send_vector(int fd, struct iovec *vector, int count) {
        struct msghdr message = {0};
        ssize_t result;
        message.msg_iov = vector;
        message.msg_iovlen = count;
        do {
            result = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (result < 0 && errno == EINTR);
        if (result < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return result;
    }

    static int noria_accept(int fd, struct sockaddr_storage *address, socklen_t *length) {
        int result;
        *length = sizeof *address;
    #if defined(__linux__) || defined(__FreeBSD__)
        do {
            result = accept4(fd, (struct sockaddr *)address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        } while (result < 0 && errno == EINTR);
    #else
        do {
            result = accept(fd, (struct sockaddr *)address, length);
        } while (result < 0 && errno == EINTR);
        if (result >= 0) {
            fcntl(result, F_SETFD, FD_CLOEXEC);
            fcntl(result, F_SETFL, fcntl(result, F_GETFL) | O_NONBLOCK);
        }
    #endif
        if (result < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        if (*length > sizeof *address) *length = sizeof *address;
        return result;
    }

    static int noria_name(int fd, int peer, struct sockaddr_storage *address, socklen_t *length) {
        int result;
        *length = sizeof *address;
        result = peer ? getpeername(fd, (struct sockaddr *)address, length)
                      : getsockname(fd, (struct sockaddr *)address, length);
        if (result < 0) return -errno;
        if (*length > sizeof *address) *length = sizeof *address;
        return result;
    }

    static int noria_nodelay(int fd) {
        int on = 1;
        return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ? -errno : 0;
    }

    static int noria_shutdown_writing(int fd) {
        return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
    }

    static void noria_warm_allocator(size_t size) {
        void *volatile block = malloc(size); /* volatile, or the compiler drops the pair */
        free(block);
    }

    /* For an object that nobody else has seen yet. */
    static void noria_shorten(PyObject *bytes, Py_ssize_t size) {
        Py_SET_SIZE(bytes, size);
        PyBytes_AS_STRING(bytes)[size] = 0;
    }

    static int noria_is_tcp(int fd) {
        int type = 0;
        socklen_t length = sizeof type;
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || type != SOCK_STREAM)
            return 0;
    #ifdef SO_PROTOCOL
        int protocol = 0;
        length = sizeof protocol;
        if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0)
            return protocol == IPPROTO_TCP;
    #endif
        return 1;
    }
    """
    ctypedef unsigned int socklen_t
    struct iovec:
        void *iov_base
        size_t iov_len
    struct sockaddr_storage:
        unsigned short ss_family
    struct in6_addr:
        pass
    struct in_addr:
        pass
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id
    struct sockaddr_un:
        char sun_path[108]
    enum:
        AF_INET, AF_INET6, AF_UNIX, INET6_ADDRSTRLEN, NORIA_HOT_BYTES
    size_t IPV4_BYTES "(offsetof(struct sockaddr_in, sin_addr) + sizeof(struct in_addr))"
    size_t SUN_PATH_OFFSET "offsetof(struct sockaddr_un, sun_path)"
    char *noria_hot
    ssize_t noria_receive(int fd, char *memory, size_t size)
    ssize_t noria_send(int fd, const char *memory, size_t size)
    ssize_t noria_send_vector(int fd, iovec *vector, int count)
    int noria_accept(int fd, sockaddr_storage *address, socklen_t *length)
    int noria_name(int fd, int peer, sockaddr_storage *address, socklen_t *length)
    int noria_nodelay(int fd)
    int noria_shutdown_writing(int fd)
    void noria_shorten(PyObject *bytes, Py_ssize_t size)
    int noria_is_tcp(int fd)
    void noria_warm_allocator(size_t size)
    const char *inet_ntop(int family, const void *source, char *text, socklen_t size)
    int inet_pton(int family, const char *text, void *target)
    unsigned short ntohs(unsigned short value)
    unsigned short htons(unsigned short value)
    unsigned int htonl(unsigned int value)
    unsigned int ntohl(unsigned int value)

cdef enum:
    VECTOR_MAX = 64  # chunks in one call; more gain nothing and would need more stack


# glibc gives memory above 128 KiB at the end of the heap back to the kernel on every free, and
# fetches it again, page fault by page fault, on the next allocation: 25 microseconds for 256 KiB.
# It raises that bound by itself to twice the largest block that was freed. Freeing one block,
# once, does it.
cdef enum:
    WASTE_MAX_PART = 8  # at most an eighth of a received object is room that is not used
    ALLOCATOR_WARM_BYTES = 2 * 1024 * 1024
cdef bint _allocator_warm = False


cpdef object receive(int fd, object sock, Py_ssize_t size):
    """Receive at most `size` bytes; the bytes (empty at the end) or minus errno."""
    cdef ssize_t result
    if size < 0:
        raise ValueError("negative buffersize in recv")
    if size > NORIA_HOT_BYTES:
        return receive_large(fd, sock, size)
    result = noria_receive(fd, noria_hot, size)
    if result < 0:
        return result
    return PyBytes_FromStringAndSize(noria_hot, result)


cpdef object receive_large(int fd, object sock, Py_ssize_t size):
    """Receive as `receive` does, without a copy; the caller expects nearly `size` bytes."""
    global _allocator_warm
    cdef ssize_t result
    if size < 0:
        raise ValueError("negative buffersize in recv")
    if not _allocator_warm:
        _allocator_warm = True
        noria_warm_allocator(ALLOCATOR_WARM_BYTES)
    cdef PyObject *data = PyBytes_FromStringAndSize_raw(NULL, size)
    if data == NULL:
        raise MemoryError
    result = noria_receive(fd, PyBytes_AS_STRING(<object>data), size)
    if result < 0:
        Py_DECREF_raw(data)
        return result
    if size - result <= size // WASTE_MAX_PART:
        # Giving the rest back would leave a hole that the next object of this size does not fit
        # into: they would wander through memory that no cache knows.
        noria_shorten(data, result)
    elif _PyBytes_Resize(&data, result) < 0:
        raise MemoryError
    owned = <object>data
    Py_DECREF_raw(data)
    return owned


cpdef long long receive_into(int fd, object sock, object view) except? -1:
    """Receive into memory; bytes received (0 at the end) or minus errno."""
    cdef Py_buffer memory
    cdef ssize_t result
    try:
        PyObject_GetBuffer(view, &memory, PyBUF_WRITABLE)
    except BufferError:
        kind = type(view).__name__
        raise TypeError(f"a read-write bytes-like object is needed, not {kind}") from None
    result = noria_receive(fd, <char *>memory.buf, memory.len)
    PyBuffer_Release(&memory)
    return result


cpdef long long send(int fd, object sock, object data, Py_ssize_t offset) except? -1:
    """Send what lies behind `offset` in `data`; bytes taken or minus errno."""
    cdef Py_buffer memory
    cdef ssize_t result
    if type(data) is bytes:
        offset = min(offset, PyBytes_GET_SIZE(data))
        return noria_send(fd, PyBytes_AS_STRING(data) + offset, PyBytes_GET_SIZE(data) - offset)
    PyObject_GetBuffer(data, &memory, PyBUF_SIMPLE)
    offset = min(offset, memory.len)
    result = noria_send(fd, <char *>memory.buf + offset, memory.len - offset)
    PyBuffer_Release(&memory)
    return result


cpdef long long send_vector(int fd, object sock, list chunks, Py_ssize_t offset) except? -1:
    """Send several chunks at once, the first from `offset` on; bytes taken or minus errno."""
    cdef iovec vector[VECTOR_MAX]
    cdef Py_buffer views[VECTOR_MAX]
    cdef int count = 0
    cdef int index
    cdef ssize_t result
    cdef object chunk
    cdef int wanted = <int>min(len(chunks), <Py_ssize_t>VECTOR_MAX)
    try:
        while count < wanted:
            chunk = chunks[count]
            PyObject_GetBuffer(chunk, &views[count], PyBUF_SIMPLE)
            vector[count].iov_base = views[count].buf
            vector[count].iov_len = views[count].len
            count += 1
        if count:
            offset = min(offset, views[0].len)
            vector[0].iov_base = <char *>vector[0].iov_base + offset
            vector[0].iov_len -= offset
        result = noria_send_vector(fd, vector, count)
    finally:
        for index in range(count):
            PyBuffer_Release(&views[index])
    return result


cpdef object accept(int fd, object sock):
    """Accept one connection, non-blocking: its number, None and raw address, or minus errno."""
    cdef sockaddr_storage address
    cdef socklen_t length
    cdef int result = noria_accept(fd, &address, &length)
    if result < 0:
        return result
    return result, None, _raw(&address, length)


cdef object _raw(sockaddr_storage *address, socklen_t length):
    """Keep an address as bytes; of IPv4 without the padding, as every connection keeps one."""
    if address.ss_family == AF_INET and length > IPV4_BYTES:
        length = IPV4_BYTES
    return PyBytes_FromStringAndSize(<char *>address, length)


cpdef object address_of(object raw):
    """Make the address that Python programs know from a raw one (bytes of a sockaddr)."""
    cdef const char *memory
    cdef const sockaddr_in *four
    cdef const sockaddr_in6 *six
    cdef char text[64]
    cdef Py_ssize_t length
    cdef int family
    if type(raw) is not bytes:
        return raw
    memory = PyBytes_AS_STRING(raw)
    length = PyBytes_GET_SIZE(raw)
    if length < <Py_ssize_t>sizeof(unsigned short):
        return ""  # an unnamed Unix socket on systems that report length 0
    family = (<const sockaddr_storage *>memory).ss_family
    if family == AF_INET and length >= <Py_ssize_t>IPV4_BYTES:
        four = <const sockaddr_in *>memory
        inet_ntop(AF_INET, &four.sin_addr, text, sizeof(text))
        return (<bytes>text).decode("ascii"), <int>ntohs(four.sin_port)
    if family == AF_INET6 and length >= <Py_ssize_t>sizeof(sockaddr_in6):
        six = <const sockaddr_in6 *>memory
        inet_ntop(AF_INET6, &six.sin6_addr, text, sizeof(text))
        host = (<bytes>text).decode("ascii")
        if six.sin6_scope_id:
            host = _with_zone(host, six.sin6_scope_id)
        return host, <int>ntohs(six.sin6_port), ntohl(six.sin6_flowinfo), six.sin6_scope_id
    if family == AF_UNIX:
        return _unix_address(raw[SUN_PATH_OFFSET:])
    return (family, raw[sizeof(unsigned short):])


cpdef object raw_address(int family, object address):
    """Make a raw address (bytes of a sockaddr) of a numeric one; None for what is not known here.

    Known are IPv4 and IPv6 as `socket` has them, without a zone in the text.
    """
    cdef sockaddr_in four
    cdef sockaddr_in6 six
    cdef Py_ssize_t length
    if type(address) is not tuple:
        return None
    length = len(address)
    if length < 2 or type(address[0]) is not str or type(address[1]) is not int:
        return None
    host = (<str>address[0]).encode("utf-8", "replace")
    if not 0 <= address[1] <= 65535 or b"\0" in host:
        return None
    if family == AF_INET and length == 2:
        memset(&four, 0, sizeof(four))
        four.sin_family = AF_INET
        four.sin_port = htons(address[1])
        if inet_pton(AF_INET, host, &four.sin_addr) != 1:
            return None
        return PyBytes_FromStringAndSize(<char *>&four, sizeof(four))
    if family == AF_INET6 and length in (2, 4):
        memset(&six, 0, sizeof(six))
        six.sin6_family = AF_INET6
        six.sin6_port = htons(address[1])
        if inet_pton(AF_INET6, host, &six.sin6_addr) != 1:
            return None
        if length == 4:
            if type(address[2]) is not int or type(address[3]) is not int:
                return None
            if not 0 <= address[2] <= 0xFFFFF or not 0 <= address[3] <= 0xFFFFFFFF:
                return None
            six.sin6_flowinfo = htonl(address[2])
            six.sin6_scope_id = address[3]
        return PyBytes_FromStringAndSize(<char *>&six, sizeof(six))
    return None


cdef object _with_zone(str host, unsigned int scope_id):
    # `socket` names the zone of a link-local address, as getnameinfo(3) does.
    try:
        return f"{host}%{socket_module.if_indextoname(scope_id)}"
    except OSError:
        return f"{host}%{scope_id}"


cdef object _unix_address(bytes path):
    if path[:1] == b"\0" and len(path) > 1:
        return path  # abstract namespace: bytes, as `socket` gives it
    return os.fsdecode(path.split(b"\0", 1)[0])


cdef object _name(int fd, int peer):
    cdef sockaddr_storage address
    cdef socklen_t length
    if noria_name(fd, peer, &address, &length) < 0:
        return None
    return _raw(&address, length)


cpdef object local_address(int fd, object sock):
    """Raw address of this end, None where there is none."""
    return _name(fd, 0)


cpdef object peer_address(int fd, object sock):
    """Raw address of the other end, None where there is none."""
    return _name(fd, 1)


cpdef bint is_unix(int fd, object sock) noexcept:
    """Whether it is a Unix socket."""
    cdef sockaddr_storage address
    cdef socklen_t length
    return noria_name(fd, 0, &address, &length) == 0 and address.ss_family == AF_UNIX


cpdef int set_nodelay(int fd, object sock, object raw_address) except? -1:
    """Switch Nagle's algorithm off where the socket is TCP; 0 or minus errno."""
    cdef int family
    if type(raw_address) is bytes and PyBytes_GET_SIZE(raw_address) >= 2:
        family = (<const sockaddr_storage *>PyBytes_AS_STRING(raw_address)).ss_family
        if family != AF_INET and family != AF_INET6:
            return 0
    elif not noria_is_tcp(fd):
        return 0
    return noria_nodelay(fd)


cpdef int shutdown_writing(int fd, object sock) except? -1:
    """Send the end of the stream; 0 or minus errno."""
    return noria_shutdown_writing(fd)
