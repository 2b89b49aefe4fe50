# cython: boundscheck=False, wraparound=False
"""Calls on files that do not wait for a disk (preadv2(2) with RWF_NOWAIT, openat2(2)).

The interpreter lock is kept for what is copied in a few microseconds: letting go of it and taking
it again costs other threads' time as well.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject *PyBytes_FromStringAndSize_raw "PyBytes_FromStringAndSize"(const char *, Py_ssize_t)
    int _PyBytes_Resize(PyObject **data, Py_ssize_t size)
    void Py_DECREF_raw "Py_DECREF"(PyObject *data)

cdef extern from *:
    """
    #include <sys/types.h>
    #include <sys/uio.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <stdint.h>
    #include <unistd.h>
    #ifdef __linux__
    #include <sys/syscall.h>
    #endif

    static ssize_t noria_read_now(int fd, void *memory, size_t size, long long offset, int plain) {
        ssize_t result;
        do {
            if (plain)
                result = pread(fd, memory, size, (off_t)offset);
            else {
    #if defined(__linux__) && defined(RWF_NOWAIT)
                struct iovec vector = {memory, size};
                result = preadv2(fd, &vector, 1, (off_t)offset, RWF_NOWAIT);
    #else
                return -EOPNOTSUPP;
    #endif
            }
        } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : result;
    }

    /* struct open_how of openat2(2), which not every C library declares. */
    struct noria_open_how { uint64_t flags, mode, resolve; };

    static long noria_open_now(const char *name, int flags) {
    #if defined(__linux__) && defined(SYS_openat2)
        struct noria_open_how how = {(uint64_t)(flags | O_CLOEXEC), 0, 0x20 /* RESOLVE_CACHED */};
        long result = syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof how);
        return result < 0 ? -errno : result;
    #else
        return -ENOSYS;
    #endif
    }
    """
    ssize_t noria_read_now(int fd, void *memory, size_t size, long long offset, int plain) nogil
    long noria_open_now(const char *name, int flags) nogil

cdef enum:
    BRIEF_BYTES = 64 * 1024  # copied in about ten microseconds


cdef ssize_t read_memory(int fd, void *memory, size_t size, long long offset, bint plain):
    cdef ssize_t result
    if size <= <size_t>BRIEF_BYTES:
        return noria_read_now(fd, memory, size, offset, plain)
    with nogil:
        result = noria_read_now(fd, memory, size, offset, plain)
    return result


cpdef object read_now(int fd, Py_ssize_t size, long long offset, bint plain):
    """Read at most `size` bytes at `offset` from the page cache; the bytes, or minus errno.

    `plain` reads as pread(2) does. Fewer bytes come where the file ends, or where the cache does.
    """
    cdef PyObject *data
    cdef ssize_t result
    if size < 0:
        raise ValueError("negative size in read_now")
    data = PyBytes_FromStringAndSize_raw(NULL, size)
    if data == NULL:
        raise MemoryError
    result = read_memory(fd, PyBytes_AS_STRING(<object>data), size, offset, plain)
    if result < 0:
        Py_DECREF_raw(data)
        return result
    if result != size and _PyBytes_Resize(&data, result) < 0:
        raise MemoryError
    owned = <object>data
    Py_DECREF_raw(data)
    return owned


cpdef long long read_now_into(int fd, object buffer, long long offset, bint plain) except? -1:
    """Do as `read_now`, into writable memory; how many bytes, or minus errno."""
    cdef Py_buffer memory
    cdef ssize_t result
    PyObject_GetBuffer(buffer, &memory, PyBUF_SIMPLE | PyBUF_WRITABLE)
    result = read_memory(fd, memory.buf, memory.len, offset, plain)
    PyBuffer_Release(&memory)
    return result


cpdef long long open_now(bytes name, int flags) except? -1:
    """Open what is found without waiting for a disk: a descriptor, not inheritable, or minus errno.

    -EAGAIN if something of the name is not cached, -ENOSYS where that cannot be asked for.
    """
    if b"\0" in name:
        raise ValueError("embedded null byte")
    return noria_open_now(name, flags)
