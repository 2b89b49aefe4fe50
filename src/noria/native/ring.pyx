# cython: boundscheck=False, wraparound=False
"""One io_uring and its provided buffers (io_uring(7)); the declarations are in ring.h.

The ring is made with SINGLE_ISSUER and DEFER_TASKRUN, disabled: `enable` makes the calling thread
its owner, and only that thread may submit or enter from then on. `close` may come from any thread.

Requests on files are told in the kernel's terms, with addresses in memory that is `Lent`.

Every request carries a token, any Python object. But for sends, which are over when the submitting
call returns, the ring holds a reference to it until the last completion of the request, so what the
token keeps alive (the memory, the descriptor) lives as long as the kernel may touch it: a ring that
is closed early, in a forked child or by the end of the interpreter, lets these references go
nowhere rather than free lent memory.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t, uintptr_t
from noria.native cimport calls

import os

COMPILED = True

cdef extern from "noria/native/ring.h":
    struct noria_sqe:
        unsigned char opcode
        unsigned char flags
        unsigned short ioprio
        int fd
        uint64_t off
        uint64_t addr
        unsigned int len
        unsigned int op_flags
        uint64_t user_data
        unsigned short buf_group
    enum:
        NORIA_OP_POLL_ADD, NORIA_OP_ACCEPT, NORIA_OP_ASYNC_CANCEL, NORIA_OP_SEND, NORIA_OP_RECV
        NORIA_SQE_ASYNC, NORIA_SQE_BUFFER_SELECT, NORIA_SQE_CQE_SKIP_SUCCESS
        NORIA_RECV_MULTISHOT
        NORIA_ACCEPT_MULTISHOT, NORIA_CANCEL_ALL, NORIA_CANCEL_FD, NORIA_CANCEL_ANY
        NORIA_CQE_BUFFER, NORIA_CQE_MORE, NORIA_CQE_BUFFER_SHIFT
        NORIA_REGISTER_ENABLE_RINGS
    unsigned int noria_ring_queued(const noria_ring *ring) noexcept
    unsigned int noria_ring_completed(const noria_ring *ring) noexcept
    bint noria_ring_has_bit(const noria_ring *ring, unsigned int *looked_at, uint64_t bit,
                            uint64_t least) noexcept
    bint noria_ring_has_last(const noria_ring *ring, uint64_t data) noexcept
    bint noria_ring_overflowed(const noria_ring *ring) noexcept
    bint noria_ring_pending(const noria_ring *ring) noexcept
    int noria_ring_create(noria_ring *ring, unsigned entries, unsigned completions) noexcept
    void noria_ring_unmap(noria_ring *ring) noexcept
    void noria_ring_empty(noria_ring *ring) noexcept
    noria_sqe *noria_ring_entry(noria_ring *ring) noexcept
    int noria_ring_submit(noria_ring *ring) noexcept nogil
    int noria_ring_enter(noria_ring *ring, long long timeout_ns, long long slack_ns) noexcept nogil
    bint noria_ring_supports(const noria_ring *ring, int operation) noexcept
    long noria_ring_bound_workers(const noria_ring *ring, unsigned int most) noexcept
    long noria_ring_restrict(const noria_ring *ring) noexcept
    long noria_register(int fd, unsigned code, void *argument, unsigned count) noexcept
    void noria_store(unsigned int *place, unsigned int value) noexcept
    long long noria_slack_ns() noexcept
    long long noria_now_ns() noexcept
    int noria_group_create(noria_group *group, int ring_fd, int number, unsigned int count,
                           unsigned int size) noexcept
    void noria_group_empty(noria_group *group) noexcept
    void noria_group_unmap(noria_group *group) noexcept
    void noria_group_add(noria_group *group, unsigned int buffer) noexcept
    void noria_group_publish(noria_group *group) noexcept

cdef extern from *:
    """
    #include <poll.h>
    #include <signal.h>
    #include <sys/socket.h>
    """
    enum:
        POLLIN, SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL, MSG_DONTWAIT, MSG_WAITALL
        EINTR, EBUSY, EAGAIN, ETIME
    int close_fd "close"(int fd) noexcept
    int getpid() noexcept

cdef extern from "Python.h":
    PyObject *PyBytes_raw "PyBytes_FromStringAndSize"(const char *memory, Py_ssize_t size)
    int resize_bytes "_PyBytes_Resize"(PyObject **data, Py_ssize_t size)

cdef enum:
    REGISTER_EVENTFD = 4  # io_uring_register(2), IORING_REGISTER_EVENTFD
    TAGS_MAX = 16  # user data below this is a tag: no object lies there
    TAG_IGNORED = 1
    BORROWED = 1  # of a token: the ring holds no reference


cdef class Lent:
    """Memory for the kernel to read or to write, in place as long as this object lives.

    Args:
        source: an object whose memory the kernel reads; None for new memory that it writes.
        size: bytes of the new memory.

    Raises:
        TypeError, BufferError: `source` has no contiguous memory.
        MemoryError: there is not as much.

    Attributes:
        address: where it is.
        size: its bytes.
    """

    def __cinit__(self, object source, Py_ssize_t size=0):
        if source is None:
            self._made = PyBytes_raw(NULL, size)
            if self._made == NULL:
                raise MemoryError
            self.address = <uintptr_t>PyBytes_AS_STRING(<object>self._made)
            self.size = size
        else:
            PyObject_GetBuffer(source, &self._view, PyBUF_SIMPLE)
            self._viewed = True
            self.address = <uintptr_t>self._view.buf
            self.size = self._view.len

    cpdef bytes written(self, Py_ssize_t size):
        """Take the first `size` bytes of new memory, which is the caller's then."""
        cdef PyObject *made = self._made
        self._made = NULL
        if made == NULL:
            raise ValueError("this memory was taken already, or is not new")
        if resize_bytes(&made, size) < 0:
            raise MemoryError
        taken = <bytes><object>made
        Py_DECREF(taken)
        return taken

    def __dealloc__(self):
        if self._made != NULL:
            Py_DECREF(<object>self._made)
        if self._viewed:
            PyBuffer_Release(&self._view)


cdef class Ring:
    """One ring.

    Args:
        entries: requests that can be queued between two calls.
        completions: results that fit before the kernel has to keep some itself.

    Raises:
        OSError: io_uring_setup(2) failed, or the kernel's ring lacks what is needed (EINVAL).

    Attributes:
        token: of the completion taken last; None if it carries a tag.
        tag: of the completion taken last; 0 if it carries a token.
        result: its result, >= 0 or minus errno.
        more: further completions of the same request will come.
        calls: how many times the kernel was entered.
        taken: how many completions were taken.
    """

    def __cinit__(self, unsigned int entries, unsigned int completions):
        cdef int failure
        self._buffer = -1
        self._pid = getpid()
        failure = noria_ring_create(&self._ring, entries, completions)
        if failure < 0:
            raise OSError(-failure, f"io_uring_setup: {os.strerror(-failure)}")

    def __dealloc__(self):
        # A copy of the object in a forked child has nothing mapped: see MADV_DONTFORK in ring.h.
        if self._ring.fd >= 0:
            close_fd(self._ring.fd)
            if self._pid == getpid():
                noria_ring_unmap(&self._ring)
                noria_group_unmap(&self._group)

    cpdef int fileno(self) noexcept:
        """Descriptor of the ring, -1 once closed."""
        return self._ring.fd

    cpdef unsigned int features(self) noexcept:
        """Features that the kernel told, as io_uring_setup(2) numbers them."""
        return self._ring.features

    cpdef int bound_workers(self, unsigned int most) except? -1:
        """Bound the kernel's threads for requests that block, by kind; 0 or minus errno."""
        return <int>noria_ring_bound_workers(&self._ring, most)

    cpdef int restrict(self) except? -1:
        """Before it is enabled: forbid it all but receive, send, poll, cancel; 0 or -errno."""
        return <int>noria_ring_restrict(&self._ring)

    cpdef bint supports(self, int operation) noexcept:
        """Whether the kernel knows an operation; False also if the ring may not ask."""
        return noria_ring_supports(&self._ring, operation)

    cpdef int enable(self) except? -1:
        """Make the calling thread the owner; 0 or minus errno."""
        self._slack_ns = noria_slack_ns()
        return <int>noria_register(self._ring.fd, NORIA_REGISTER_ENABLE_RINGS, NULL, 0)

    cpdef int ring_bell(self, int bell) except? -1:
        """Have an eventfd written whenever there is something to take; 0 or minus errno."""
        return <int>noria_register(self._ring.fd, REGISTER_EVENTFD, &bell, 1)

    cpdef int make_group(self, int number, unsigned int count, unsigned int size) except? -1:
        """Register a group of `count` buffers (a power of two), none provided; 0 or -errno."""
        self._group_number = number
        self._provided = 0
        return noria_group_create(&self._group, self._ring.fd, number, count, size)

    cpdef unsigned int provide(self, unsigned int count) noexcept:
        """Provide that many buffers more, as far as there are; how many are provided now."""
        while count and self._provided < self._group.count:
            noria_group_add(&self._group, self._provided)
            self._provided += 1
            count -= 1
        noria_group_publish(&self._group)
        return self._provided

    cpdef unsigned int buffer_size(self) noexcept:
        """Bytes of one buffer."""
        return self._group.size

    cdef bint _fill(self, int opcode, int fd, uint64_t address, unsigned int length,
                    unsigned int op_flags, int priority, int flags, uint64_t user_data) noexcept:
        cdef noria_sqe *entry = noria_ring_entry(&self._ring)
        if entry == NULL:
            return False
        entry.opcode = opcode
        entry.flags = flags
        entry.ioprio = priority
        entry.fd = fd
        entry.addr = address
        entry.len = length
        entry.op_flags = op_flags
        entry.user_data = user_data
        entry.buf_group = self._group_number if flags & NORIA_SQE_BUFFER_SELECT else 0
        return True

    cpdef bint prepare_receive(self, object token, int fd) noexcept:
        """Queue a receive that goes on into provided buffers; False if the queue is full."""
        if not self._fill(NORIA_OP_RECV, fd, 0, 0, 0, NORIA_RECV_MULTISHOT,
                          NORIA_SQE_BUFFER_SELECT, <uintptr_t><PyObject *>token):
            return False
        Py_INCREF(token)
        return True

    cpdef bint prepare_accept(self, object token, int fd) noexcept:
        """Queue an accept that goes on; False if the queue is full."""
        if not self._fill(NORIA_OP_ACCEPT, fd, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC,
                          NORIA_ACCEPT_MULTISHOT, 0, <uintptr_t><PyObject *>token):
            return False
        Py_INCREF(token)
        return True

    cpdef bint prepare_send(self, object token, int fd, object data, Py_ssize_t offset) noexcept:
        """Queue a send of what lies behind `offset` in `data`; False if the queue is full.

        The send is over when the call that submits it returns: the socket takes what it can at
        once. There is no completion if it took everything, else one with how much, or minus errno.
        The caller holds token and data until it has taken the completions there are then.
        """
        assert PyBytes_Check(data) and 0 <= offset <= PyBytes_GET_SIZE(data)
        return self._fill(NORIA_OP_SEND, fd, <uintptr_t>(PyBytes_AS_STRING(data) + offset),
                          <unsigned int>(PyBytes_GET_SIZE(data) - offset),
                          MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL, 0, NORIA_SQE_CQE_SKIP_SUCCESS,
                          <uintptr_t><PyObject *>token | BORROWED)

    cpdef bint prepare_call(self, object token, int operation, int fd, uint64_t address,
                            uint64_t offset, unsigned int length, unsigned int flags,
                            bint blocks) noexcept:
        """Queue a request by the fields of an entry (io_uring_enter(2)); False if it is full.

        The token keeps alive what the addresses point to. What `blocks` goes to a worker without
        an attempt before.
        """
        cdef noria_sqe *entry = noria_ring_entry(&self._ring)
        if entry == NULL:
            return False
        entry.opcode = operation
        entry.flags = NORIA_SQE_ASYNC if blocks else 0
        entry.fd = fd
        entry.off = offset
        entry.addr = address
        entry.len = length
        entry.op_flags = flags
        entry.user_data = <uintptr_t><PyObject *>token
        Py_INCREF(token)
        return True

    cpdef bint prepare_poll(self, int tag, int fd) noexcept:
        """Queue a wait for readability that carries a tag from 2 to 15; False if it is full."""
        return self._fill(NORIA_OP_POLL_ADD, fd, 0, 0, POLLIN, 0, 0, tag)

    cpdef bint prepare_cancel(self, object token) noexcept:
        """Queue the cancellation of the request with this token; False if the queue is full."""
        return self._fill(NORIA_OP_ASYNC_CANCEL, -1, <uintptr_t><PyObject *>token, 0, 0, 0,
                          NORIA_SQE_CQE_SKIP_SUCCESS, TAG_IGNORED)

    cpdef bint prepare_cancel_fd(self, int fd) noexcept:
        """Queue the cancellation of everything on a descriptor; False if the queue is full."""
        return self._fill(NORIA_OP_ASYNC_CANCEL, fd, 0, 0, NORIA_CANCEL_FD | NORIA_CANCEL_ALL, 0,
                          0, TAG_IGNORED)

    cpdef bint prepare_cancel_all(self) noexcept:
        """Queue the cancellation of everything; False if the queue is full."""
        return self._fill(NORIA_OP_ASYNC_CANCEL, -1, 0, 0, NORIA_CANCEL_ANY | NORIA_CANCEL_ALL, 0,
                          0, TAG_IGNORED)

    cpdef unsigned int queued(self) noexcept:
        """Requests that the kernel has not taken yet."""
        return noria_ring_queued(&self._ring)

    cpdef unsigned int completed(self) noexcept:
        """Completions that can be taken."""
        return noria_ring_completed(&self._ring)

    cpdef list take_all(self, object token):
        """Take all completions of a request out of turn, if its last one is among them.

        Returns:
            What they have received, a list of bytes; None if the request has not ended.
        """
        cdef uint64_t data = <uintptr_t><PyObject *>token
        cdef unsigned int head = self._ring.cq_head[0]
        cdef unsigned int count = noria_ring_completed(&self._ring)
        cdef unsigned int index
        cdef noria_cqe *entry
        cdef list received = []
        if not noria_ring_has_last(&self._ring, data):
            return None
        for index in range(count):
            entry = &self._ring.cqes[(head + index) & self._ring.cq_mask]
            if entry.user_data != data:
                continue
            if entry.flags & NORIA_CQE_BUFFER:
                if self._buffer >= 0:
                    self._return_buffer()
                self._buffer = <int>(entry.flags >> NORIA_CQE_BUFFER_SHIFT)
                self.result = max(entry.res, 0)
                received.append(self.received())
            entry.user_data = TAG_IGNORED  # it is taken in its turn, and tells nothing then
            entry.flags = 0
        Py_DECREF(token)
        return received

    cpdef bint send_failed(self) noexcept:
        """Whether a completion that came since this was asked last tells of a send."""
        return noria_ring_has_bit(&self._ring, &self._looked_at, BORROWED, TAGS_MAX)

    cpdef bint overflowed(self) noexcept:
        """Whether the kernel keeps completions that found no room; the next call brings them."""
        return noria_ring_overflowed(&self._ring)

    cpdef bint pending(self) noexcept:
        """Whether the kernel has completions that only a call brings."""
        return noria_ring_pending(&self._ring)

    cpdef int enter(self, long long timeout_ns) except? -1:
        """Submit what is queued and wait for a completion (io_uring_enter(2)).

        Other threads run meanwhile. What interrupts the wait does not end it, unless it is a signal
        whose Python handler raises: that comes out here.

        Args:
            timeout_ns: longest wait; 0 does not wait, -1 waits without limit.

        Returns:
            0, also after a time-out; -EBUSY or -EAGAIN if completions have to be taken,
            or memory to be freed, before more can be submitted.

        Raises:
            OSError: the call failed in another way.
        """
        cdef int result
        cdef long long until_ns = noria_now_ns() + timeout_ns if timeout_ns > 0 else 0
        while True:
            self.calls += 1
            with nogil:
                result = noria_ring_enter(&self._ring, timeout_ns, self._slack_ns)
            if result >= 0 or result == -ETIME or result == -EINTR:
                if not timeout_ns or noria_ring_completed(&self._ring):
                    return 0
                calls.check_signals()
                if timeout_ns > 0:
                    timeout_ns = until_ns - noria_now_ns()
                    if timeout_ns <= 0:
                        return 0
                continue  # it was interrupted
            break
        if result == -EBUSY or result == -EAGAIN:
            return result
        raise OSError(-result, f"io_uring_enter: {os.strerror(-result)}")

    cpdef int submit(self) except? -1:
        """Submit what is queued, and let the kernel keep its completions for now.

        Results and errors are those of `enter`.
        """
        cdef int result
        self.calls += 1
        with nogil:
            result = noria_ring_submit(&self._ring)
        if result >= 0 or result == -EINTR:
            return 0
        if result == -EBUSY or result == -EAGAIN:
            return result
        raise OSError(-result, f"io_uring_enter: {os.strerror(-result)}")

    cpdef bint take(self) except? -1:
        """Take one completion into the attributes; False if there is none."""
        cdef unsigned int head
        cdef noria_cqe *entry
        cdef PyObject *token
        if self._buffer >= 0:
            self._return_buffer()
        if not noria_ring_completed(&self._ring):
            self.token = None
            return False
        head = self._ring.cq_head[0]
        entry = &self._ring.cqes[head & self._ring.cq_mask]
        self.result = entry.res
        self.more = (entry.flags & NORIA_CQE_MORE) != 0
        if entry.flags & NORIA_CQE_BUFFER:
            self._buffer = <int>(entry.flags >> NORIA_CQE_BUFFER_SHIFT)
        if entry.user_data < TAGS_MAX:
            self.tag = <int>entry.user_data
            self.token = None
        else:
            token = <PyObject *><uintptr_t>(entry.user_data & ~<uint64_t>BORROWED)
            self.tag = 0
            self.token = <object>token
            if not (self.more or entry.user_data & BORROWED):
                Py_DECREF(<object>token)
        self.taken += 1
        noria_store(self._ring.cq_head, head + 1)
        return True

    cpdef object received(self):
        """Copy what the completion taken last has received; None if it came without a buffer."""
        if self._buffer < 0:
            return None
        data = PyBytes_FromStringAndSize(
            self._group.memory + <Py_ssize_t>self._buffer * self._group.size, self.result
        )
        self._return_buffer()
        return data

    cdef void _return_buffer(self) noexcept:
        noria_group_add(&self._group, self._buffer)
        noria_group_publish(&self._group)
        self._buffer = -1

    cpdef object close(self):
        """Give the ring back to the kernel, which ends what is in flight later. Idempotent."""
        if self._ring.fd >= 0:
            close_fd(self._ring.fd)
            self._ring.fd = -1
            self._buffer = -1
            noria_ring_unmap(&self._ring)
            noria_group_unmap(&self._group)

    cpdef object abandon(self):
        """Close a forked child's copy of the descriptor; nothing else of the ring came along."""
        if self._ring.fd >= 0:
            close_fd(self._ring.fd)
            self._ring.fd = -1
            self._buffer = -1
            noria_ring_empty(&self._ring)
            noria_group_empty(&self._group)
