# cython: boundscheck=False, wraparound=False
"""Calls on pipes and character devices by descriptor number (read(2), write(2), writev(2)).

The interpreter lock is released around each: whether such a file blocks belongs to the open file
and not to its number, so a child that shares it, or the user's shell, may switch it behind our
back. How much there is to read is asked for first (FIONREAD, ioctl_tty(2)), and read into an object
of that size without a copy; where it is thought to be little it is copied, which takes less time.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize_raw "PyBytes_FromStringAndSize"(const char *, Py_ssize_t)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size)
    void Py_DECREF_raw "Py_DECREF"(PyObject *data)

cdef extern from *:
    """
    #include <sys/ioctl.h>
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <errno.h>
    #include <stdlib.h>
    #include <unistd.h>

    static ssize_t noria_result(ssize_t result) {
        if (result < 0) return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        return result;
    }

    /* Bytes that can be read now; 0 at the end, and where the file does not tell. */
    static ssize_t noria_there(int fd) {
        int count = 0;
        return ioctl(fd, FIONREAD, &count) < 0 || count < 0 ? 0 : count;
    }

    static ssize_t noria_read(int fd, char *memory, size_t size) {
        ssize_t result;
        do { result = read(fd, memory, size); } while (result < 0 && errno == EINTR);
        return noria_result(result);
    }

    static ssize_t noria_write(int fd, const char *memory, size_t size) {
        ssize_t result;
        do { result = write(fd, memory, size); } while (result < 0 && errno == EINTR);
        return noria_result(result);
    }

    static ssize_t noria_write_vector(int fd, const struct iovec *vector, int count) {
        ssize_t result;
        do { result = writev(fd, vector, count); } while (result < 0 && errno == EINTR);
        return noria_result(result);
    }

    static void noria_warm(size_t size) {
        void *volatile block = malloc(size); /* volatile, or the compiler drops the pair */
        free(block);
    }
    """
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t noria_there(int fd) nogil
    ssize_t noria_read(int fd, char *memory, size_t size) nogil
    ssize_t noria_write(int fd, const char *memory, size_t size) nogil
    ssize_t noria_write_vector(int fd, const iovec *vector, int count) nogil
    void noria_warm(size_t size)

cdef enum:
    VECTOR_MAX = 64  # as in sockets.pyx
    UNTOLD_BYTES = 4096  # room for what a file does not tell the size of: the line of a terminal
    SMALL_BYTES = 16 * 1024  # limits.PIPE_SMALL_BYTES
    ALLOCATOR_WARM_BYTES = 2 * 1024 * 1024  # see sockets.pyx
cdef bint _allocator_warm = False


cdef object read_small(int fd, Py_ssize_t size):
    """Read at most `size` bytes, and not more than SMALL_BYTES, by way of the stack."""
    cdef char memory[SMALL_BYTES]
    cdef ssize_t result
    size = min(size, <Py_ssize_t>SMALL_BYTES)
    with nogil:
        result = noria_read(fd, memory, size)
    if result < 0:
        return result
    return PyBytes_FromStringAndSize(memory, result)


cpdef object read(int fd, Py_ssize_t size, bint small=False):
    """Read at most `size` bytes; the bytes (empty at the end) or minus errno.

    `small` saves a system call where 16 KiB are enough, and reads no more.
    """
    global _allocator_warm
    cdef ssize_t result
    cdef PyObject *data
    if size < 0:
        raise ValueError("negative size in read")
    if small:
        return read_small(fd, size)
    if not _allocator_warm:
        _allocator_warm = True
        noria_warm(ALLOCATOR_WARM_BYTES)
    result = noria_there(fd)
    size = min(size, result if result else <ssize_t>UNTOLD_BYTES)
    data = PyBytes_FromStringAndSize_raw(NULL, size)
    if data == NULL:
        raise MemoryError
    memory = PyBytes_AS_STRING(<object>data)
    with nogil:
        result = noria_read(fd, memory, size)
    if result < 0:
        Py_DECREF_raw(data)
        return result
    if result != size and _PyBytes_Resize(&data, result) < 0:
        raise MemoryError
    owned = <object>data
    Py_DECREF_raw(data)
    return owned


cpdef long long write(int fd, object data, Py_ssize_t offset) except? -1:
    """Write what lies behind `offset` in `data`; bytes taken or minus errno."""
    cdef Py_buffer memory
    cdef ssize_t result
    PyObject_GetBuffer(data, &memory, PyBUF_SIMPLE)
    offset = min(max(offset, 0), memory.len)
    with nogil:
        result = noria_write(fd, <char *>memory.buf + offset, memory.len - offset)
    PyBuffer_Release(&memory)
    return result


cpdef long long write_vector(int fd, list chunks, Py_ssize_t offset) except? -1:
    """Write several chunks at once, the first from `offset` on; bytes taken or minus errno."""
    cdef iovec vector[VECTOR_MAX]
    cdef Py_buffer views[VECTOR_MAX]
    cdef int count = 0
    cdef int index
    cdef ssize_t result
    cdef int wanted = <int>min(len(chunks), <Py_ssize_t>VECTOR_MAX)
    try:
        while count < wanted:
            PyObject_GetBuffer(chunks[count], &views[count], PyBUF_SIMPLE)
            vector[count].iov_base = views[count].buf
            vector[count].iov_len = views[count].len
            count += 1
        if count:
            offset = min(max(offset, 0), views[0].len)
            vector[0].iov_base = <char *>vector[0].iov_base + offset
            vector[0].iov_len -= offset
        with nogil:
            result = noria_write_vector(fd, vector, count)
    finally:
        for index in range(count):
            PyBuffer_Release(&views[index])
    return result
