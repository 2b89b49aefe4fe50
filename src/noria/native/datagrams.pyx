# cython: boundscheck=False, wraparound=False
"""Calls on datagram sockets by descriptor number (recvmmsg(2), sendto(2), sendmmsg(2), udp(7)).

Nothing here releases the interpreter lock: the sockets are non-blocking, and what is received goes
through memory that the lock protects. Each datagram of a batch has its own piece of it, which
starts on a page or at least a cache line behind (the kernel copies several times slower to an
address in the first bytes of a page), and at another distance from its page than its neighbour's,
so that short datagrams do not compete for the same lines of the cache.

Addresses are made and read once: 1024 of them are remembered in each direction. An address that was
received and is sent to is found by the identity of its object, which the table keeps alive.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.string cimport memcmp

import os
import socket as socket_module

from noria.native.sockets cimport address_of
from noria.native.sockets cimport raw_address as ip_address

cdef extern from "Python.h":
    void Py_XDECREF_raw "Py_XDECREF"(PyObject *data)
    void Py_INCREF_raw "Py_INCREF"(PyObject *data)

cdef extern from "noria/native/datagrams.h":
    ctypedef unsigned int socklen_t
    ctypedef unsigned long long uint64_t
    struct sockaddr_storage:
        unsigned short ss_family
    struct sockaddr_in6:
        unsigned int sin6_scope_id
    struct sockaddr_un:
        char sun_path[108]
    enum:
        AF_INET, AF_INET6, AF_UNIX, EAGAIN, EIO, EOPNOTSUPP, NORIA_BATCHES
        NORIA_IP_BYTES, NORIA_OTHER_BYTES, NORIA_RECEIVE_MAX, NORIA_OTHER_MAX, NORIA_SEND_MAX
    size_t SUN_PATH_OFFSET "offsetof(struct sockaddr_un, sun_path)"
    char *noria_pool
    size_t noria_stride
    size_t *noria_lengths
    sockaddr_storage *noria_names
    socklen_t *noria_name_lengths
    int *noria_segments
    int noria_receive_batch(int fd, int count, size_t size, int coalescing)
    void noria_put(int index, char *memory, size_t size, char *name, socklen_t length)
    int noria_send_batch(int fd, int count)
    ssize_t noria_send_one(int fd, const char *memory, size_t size, const char *name,
                           socklen_t length)
    ssize_t noria_send_segments(int fd, char *memory, size_t size, unsigned segment, char *name,
                                socklen_t length)
    int noria_can_segment(int fd)
    int noria_coalesce(int fd, int enabled)
    uint64_t noria_hash(const char *memory, size_t size)

cdef enum:
    TABLE_MAX = 1024  # addresses remembered in each direction, a power of two

cdef struct Known:
    uint64_t key  # hash of the raw address, or the family it was made for
    PyObject *raw
    PyObject *address

cdef Known known_by_raw[TABLE_MAX]
cdef Known known_by_object[TABLE_MAX]


cdef inline Known *_place_of(PyObject *address) noexcept:
    cdef uint64_t mixed = (<uint64_t><size_t>address >> 4) * <uint64_t>0x9E3779B97F4A7C15
    return &known_by_object[mixed >> 54]


cdef object _keep(Known *place, uint64_t key, object raw, object address):
    """Put an entry into a table; the one that was there is dropped."""
    cdef PyObject *old_raw = place.raw
    cdef PyObject *old_address = place.address
    Py_INCREF(raw)
    Py_INCREF(address)
    place.key = key
    place.raw = <PyObject *>raw
    place.address = <PyObject *>address
    Py_XDECREF_raw(old_raw)
    Py_XDECREF_raw(old_address)


cdef object _address_at(int index):
    """The address that a received datagram came from, None if its sender has none."""
    cdef socklen_t length = noria_name_lengths[index]
    cdef const char *name = <const char *>&noria_names[index]
    cdef uint64_t key
    cdef Known *place
    cdef int family
    if length == 0:
        return None
    if length > sizeof(sockaddr_storage):
        length = sizeof(sockaddr_storage)
    key = noria_hash(name, length)
    place = &known_by_raw[key & (TABLE_MAX - 1)]
    if (
        place.raw != NULL
        and place.key == key
        and PyBytes_GET_SIZE(<object>place.raw) == <Py_ssize_t>length
        and memcmp(PyBytes_AS_STRING(<object>place.raw), name, length) == 0
    ):
        return <object>place.address
    raw = PyBytes_FromStringAndSize(name, length)
    address = address_of(raw)
    family = noria_names[index].ss_family
    if family != AF_INET6 or (<const sockaddr_in6 *>name).sin6_scope_id == 0:
        _keep(place, key, raw, address)  # else the name of the interface may change
    if type(address) is tuple:
        _keep(_place_of(<PyObject *>address), family, raw, address)
    return address


cdef object _unix_address(object address):
    """Make a raw address of a Unix path; None where only `socket` can say what is wrong."""
    cdef sockaddr_un name
    cdef Py_ssize_t length, index
    cdef const char *path
    if type(address) is str:
        try:
            address = os.fsencode(address)
        except UnicodeError:
            return None
    if type(address) is not bytes:
        return None
    length = PyBytes_GET_SIZE(address)
    path = PyBytes_AS_STRING(address)
    if length == 0 or length >= <Py_ssize_t>sizeof(name.sun_path):
        return None
    if path[0] != 0:
        for index in range(length):
            if path[index] == 0:
                return None
        length += 1  # with its terminator
    head = PyBytes_FromStringAndSize(NULL, SUN_PATH_OFFSET + length)
    cdef char *memory = PyBytes_AS_STRING(head)
    cdef Py_ssize_t start = SUN_PATH_OFFSET
    for index in range(start):
        memory[index] = 0
    (<sockaddr_storage *>memory).ss_family = AF_UNIX
    for index in range(length):
        memory[start + index] = path[index]
    return head


class ByName:
    """An address that only the socket object understands, and may have to look up."""

    __slots__ = ("address",)

    def __init__(self, address):
        self.address = address


cdef class Endpoint:
    """The calls on one datagram socket; what each needs to know of it.

    A target is a raw address, None for the peer of a connected socket, or a ByName. Results are
    numbers, or minus errno.
    """

    def __init__(self, int family):
        self.family = family
        self.coalescing = False
        self.drained = True
        self.received_bytes = 0
        self.failure = 0
        self.is_ip = family == AF_INET or family == AF_INET6
        self.direct = self.is_ip or family == AF_UNIX

    cpdef object receive(self, int fd, object sock, Py_ssize_t count):
        """Receive up to `count` datagrams: a list of data and address in turn, or minus errno.

        `drained` tells whether the socket was empty afterwards, `received_bytes` how much came.
        """
        cdef int found, index, wanted
        cdef Py_ssize_t total = 0
        if not self.direct or (not NORIA_BATCHES and count > 1):
            return self._receive_singly(fd, sock, count)
        wanted = NORIA_RECEIVE_MAX if self.is_ip else NORIA_OTHER_MAX
        if self.coalescing:
            wanted = NORIA_OTHER_MAX  # each may be many
        if count < wanted:
            wanted = <int>count
        found = noria_receive_batch(
            fd, wanted, NORIA_IP_BYTES if self.is_ip else NORIA_OTHER_BYTES, self.coalescing
        )
        self.drained = found < wanted
        self.received_bytes = 0
        if found < 0:
            return found
        if self.coalescing:
            return self._split(found)
        batch = PyList_New(2 * found)
        for index in range(found):
            total += noria_lengths[index]
            data = PyBytes_FromStringAndSize(
                noria_pool + index * noria_stride, noria_lengths[index]
            )
            address = _address_at(index)
            Py_INCREF(data)
            PyList_SET_ITEM(batch, 2 * index, data)
            Py_INCREF(address)
            PyList_SET_ITEM(batch, 2 * index + 1, address)
        self.received_bytes = total
        return batch

    cdef object _split(self, int found):
        """Make a batch of datagrams that came several in one piece."""
        cdef Py_ssize_t size, segment, start
        cdef int index
        cdef list batch = []
        for index in range(found):
            size = noria_lengths[index]
            self.received_bytes += size
            segment = noria_segments[index]
            if segment <= 0 or segment > size:
                segment = size
            address = _address_at(index)
            start = 0
            while True:
                batch.append(PyBytes_FromStringAndSize(
                    noria_pool + index * noria_stride + start, min(segment, size - start)
                ))
                batch.append(address)
                start += segment
                if start >= size:
                    break
        return batch

    cdef object _receive_singly(self, int fd, object sock, Py_ssize_t count):
        """Receive one after the other; an error behind the first is told by the next call."""
        cdef list batch = []
        cdef int result = self.failure
        self.failure = 0
        self.received_bytes = 0
        while result == 0 and len(batch) < 2 * count:
            if self.direct:
                result = noria_receive_batch(
                    fd, 1, NORIA_IP_BYTES if self.is_ip else NORIA_OTHER_BYTES, 0
                )
                if result > 0:
                    result = 0
                    data = PyBytes_FromStringAndSize(noria_pool, noria_lengths[0])
                    address = _address_at(0)
            else:
                try:
                    data, address = sock.recvfrom(
                        NORIA_OTHER_BYTES, socket_module.MSG_DONTWAIT
                    )
                except OSError as exc:
                    result = _number_of(exc)
            if result == 0:
                batch.append(data)
                batch.append(address)
                self.received_bytes += len(data)
        self.drained = result != 0
        if not batch:
            return result
        if result != 0 and result != -EAGAIN:
            self.failure = result
            self.drained = False
        return batch

    cpdef object raw_address(self, object address):
        """The target of an address; None if only the socket object understands it, see ByName."""
        cdef Known *place = _place_of(<PyObject *>address)
        if place.address == <PyObject *>address and place.key == <uint64_t>self.family:
            return <object>place.raw
        if self.is_ip:
            raw = ip_address(self.family, address)
        elif self.direct:
            raw = _unix_address(address)
        else:
            return None
        if raw is not None:
            _keep(place, self.family, raw, address)
        return raw

    cpdef long long send(self, int fd, object sock, object data, object target) except? -1:
        """Send one datagram: its length, or minus errno.

        Raises:
            OSError: an address that has to be looked up cannot be found.
            TypeError, ValueError, OverflowError: it is no address.
        """
        cdef Py_buffer memory
        cdef ssize_t result
        cdef const char *name = NULL
        cdef socklen_t length = 0
        if type(target) is bytes:
            name = PyBytes_AS_STRING(target)
            length = <socklen_t>PyBytes_GET_SIZE(target)
        elif target is not None:
            return _send_by_name(sock, data, target)
        if type(data) is bytes:
            return noria_send_one(
                fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), name, length
            )
        PyObject_GetBuffer(data, &memory, PyBUF_SIMPLE)
        result = noria_send_one(fd, <char *>memory.buf, memory.len, name, length)
        PyBuffer_Release(&memory)
        return result

    cpdef long long send_batch(self, int fd, object sock, list queue, Py_ssize_t first) except? -1:
        """Send from a list of bytes and target in turn: how many went, minus errno if none.

        Errors are those of the datagram at `first`, see `send`.
        """
        cdef Py_ssize_t total = len(queue)
        cdef Py_ssize_t position = first
        cdef int count = 0
        cdef ssize_t result
        cdef object data, target
        if NORIA_BATCHES and total - first > 2:
            while position < total and count < NORIA_SEND_MAX:
                data = <object>PyList_GET_ITEM(queue, position)
                target = <object>PyList_GET_ITEM(queue, position + 1)
                if type(data) is not bytes:
                    break
                if type(target) is bytes:
                    noria_put(
                        count, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
                        PyBytes_AS_STRING(target), <socklen_t>PyBytes_GET_SIZE(target)
                    )
                elif target is None:
                    noria_put(count, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), NULL, 0)
                else:
                    break
                count += 1
                position += 2
            if count > 1:
                return noria_send_batch(fd, count)
        result = self.send(fd, sock, queue[first], queue[first + 1])
        return 1 if result >= 0 else result

    cpdef long long send_segments(self, int fd, object sock, object data, Py_ssize_t start,
                                  Py_ssize_t size, int segment, object target) except? -1:
        """Send a part of `data` as datagrams of `segment` bytes each, in one call (UDP_SEGMENT).

        -EOPNOTSUPP for a ByName: addresses are looked up by the socket object.
        """
        cdef Py_buffer memory
        cdef ssize_t result
        cdef char *name = NULL
        cdef socklen_t length = 0
        if type(target) is bytes:
            name = PyBytes_AS_STRING(target)
            length = <socklen_t>PyBytes_GET_SIZE(target)
        elif target is not None:
            return -EOPNOTSUPP
        PyObject_GetBuffer(data, &memory, PyBUF_SIMPLE)
        start = max(0, min(start, memory.len))
        size = max(0, min(size, memory.len - start))
        result = noria_send_segments(fd, <char *>memory.buf + start, size, segment, name, length)
        PyBuffer_Release(&memory)
        return result

    cpdef bint can_segment(self, int fd, object sock) except -1:
        """Whether the kernel knows UDP_SEGMENT for this socket (Linux 4.18)."""
        return self.is_ip and noria_can_segment(fd)

    cpdef int coalesce(self, int fd, object sock, bint enabled) except? -1:
        """Let the kernel hand over several datagrams in one piece, or not: 0 or minus errno.

        What was received before comes as it was received, so that it is looked at for ever.
        """
        cdef int result = noria_coalesce(fd, enabled)
        if result == 0 and enabled:
            self.coalescing = True
        return result


cdef long long _send_by_name(object sock, object data, object target) except? -1:
    try:
        return sock.sendto(data, socket_module.MSG_DONTWAIT, target.address)
    except (socket_module.gaierror, socket_module.herror):
        raise  # their numbers are none of errno's
    except OSError as exc:
        return _number_of(exc)


cdef int _number_of(object exc) except 0:
    if isinstance(exc, BlockingIOError):
        return -EAGAIN
    return -<int>(exc.errno or EIO)
