# cython: boundscheck=False, wraparound=False
"""POSIX asynchronous I/O: aio_read(3), aio_write(3), aio_fsync(3), lio_listio(3).

What is gathered goes to the C library by one lio_listio, but for what forces data to the device,
which that call does not know. How its end is told can be chosen: see posix_aio.h. Results come by
aio_error(3) and aio_return(3), once for each request.

A queue that is given up while requests run stays, and so does their memory, until they end.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from noria.native.transfer cimport WRITE, Transfer

import os

COMPILED = True

BY_THREAD = 0
BY_SIGNAL = 1
BY_SUSPEND = 2

cdef extern from "noria/native/posix_aio.h":
    int noria_posix_usable() noexcept
    int noria_posix_knows(int mode) noexcept
    int noria_free_signal() noexcept
    int noria_posix_make(noria_posix **made, int mode, int bell, int outstanding_max,
                         long long check_ns, long long suspend_ns, size_t stack_bytes) noexcept
    void noria_control_fill(noria_control *control, int fd, void *memory, size_t size,
                            long long offset, int writes, int sync) noexcept
    int noria_posix_submit(noria_posix *queue, noria_control *control) noexcept nogil
    int noria_posix_cancel(noria_posix *queue, noria_control *control) noexcept nogil
    void noria_posix_hand_over(noria_posix *queue) noexcept nogil
    int noria_posix_ready(noria_posix *queue) noexcept nogil
    noria_control *noria_posix_reap(noria_posix *queue, int most) noexcept nogil
    int noria_posix_attend(noria_posix *queue) noexcept nogil
    void noria_posix_stop(noria_posix *queue) noexcept nogil
    int noria_posix_finish(noria_posix *queue, long long timeout_ns) noexcept nogil
    void noria_posix_free(noria_posix *queue) noexcept
    int noria_posix_count(noria_posix *queue) noexcept
    long long noria_posix_calls(noria_posix *queue, int which) noexcept

cdef extern from *:
    """
    #include <unistd.h>
    """
    int getpid() noexcept
    enum:
        ENOTSUP
        FSYNC "NORIA_FSYNC"
        DATASYNC "NORIA_DATASYNC"

CALL_NAMES = ("aio_read", "aio_write", "aio_fsync", "lio_listio", "aio_suspend", "aio_cancel",
              "aio_error", "aio_return", "listed", "told", "found")


cdef class Aiocb(Transfer):
    """A request as the C library takes it; see Transfer for the arguments."""

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice):
        """Do what `__init__` does, once."""
        cdef int sync = 1 if kind == FSYNC else 2 if kind == DATASYNC else 0
        Transfer.fill(self, token, kind, fd, buffer, offset, size, advice)
        noria_control_fill(&self._control, fd, self.memory, 0 if sync else self.size,
                           0 if sync else offset, kind == WRITE, sync)
        self._control.owner = <void *>self

    cpdef bint refused(self) noexcept:
        """Whether it was never begun: the result says why."""
        return self._control.refused


cdef class AioQueue:
    """Requests that are gathered, in flight, or done.

    Args:
        mode: BY_THREAD, BY_SIGNAL or BY_SUSPEND: how the end of a request is told.
        bell: an eventfd that is written when something is done; -1 if `attend` is called instead,
            by a thread of the caller's, which takes BY_SUSPEND.
        outstanding_max: most requests at a time.
        check_ns: how often what is in flight is asked for ends that were not told.
        suspend_ns: how long a request may wait for aio_suspend(3) to learn of it.
        stack_bytes: of the helper thread.

    Raises:
        OSError: there can be no queue: EPERM in a forked child where the C library has threads that
            did not survive, EAGAIN if no real-time signal is free, ENOTSUP for an unknown mode.
    """

    def __cinit__(self, int mode, int bell, int outstanding_max, long long check_ns,
                  long long suspend_ns, Py_ssize_t stack_bytes):
        cdef int failure
        self._pid = getpid()
        failure = noria_posix_make(&self._queue, mode, bell, outstanding_max, check_ns, suspend_ns,
                                   stack_bytes)
        if failure:
            raise OSError(failure, f"POSIX AIO: {os.strerror(failure)}")

    cpdef int submit(self, Aiocb request) except? -1:
        """Gather a request: 0, or -EAGAIN if there are too many."""
        cdef int failure = noria_posix_submit(self._queue, &request._control)
        if failure == 0:
            Py_INCREF(request)
        return failure

    cpdef bint cancel(self, Aiocb request) except -1:
        """End a request that has not begun, by aio_cancel(3) if the library has it.

        Returns:
            False if it is too late.
        """
        return noria_posix_cancel(self._queue, &request._control)

    cpdef bint flush(self) noexcept:
        """Hand over what was gathered; whether something is done already."""
        noria_posix_hand_over(self._queue)
        return noria_posix_ready(self._queue)

    cpdef list reap(self, int count):
        """Take at most `count` requests (one or more) that are done, each with its `result`."""
        cdef noria_control *each
        cdef list found = []
        cdef Aiocb request
        each = noria_posix_reap(self._queue, count)
        while each != NULL:
            request = <Aiocb>each.owner
            each = each.next
            request.result = request._control.result
            found.append(request)
            Py_DECREF(request)
        return found

    cpdef int attend(self) except? -2:
        """Wait in aio_suspend(3) for one round, in another thread than the rest.

        Returns:
            How many requests have ended, -1 once the queue is closing.
        """
        cdef int count
        with nogil:
            count = noria_posix_attend(self._queue)
        return count

    cpdef stop(self):
        """Have `attend` return -1 from now on; what it waits in returns soon."""
        with nogil:
            noria_posix_stop(self._queue)

    cpdef list close(self, long long timeout_ns):
        """Cancel what can be cancelled and wait for the rest; nobody is told any more.

        Returns:
            The requests that still run after that time. Their memory stays and `reap` gives them
            when they end; call this again then.
        """
        cdef noria_control *each
        cdef list left = []
        with nogil:
            noria_posix_finish(self._queue, timeout_ns)
        each = self._queue.given.first
        while each != NULL:
            left.append(<Aiocb>each.owner)
            each = each.next
        return left

    cpdef int in_flight(self) noexcept:
        """How many requests it holds."""
        return noria_posix_count(self._queue)

    cpdef int threads(self) noexcept:
        """How many threads of its own it has; those of the C library are not known."""
        return self._queue.helping

    def calls(self):
        """How often each call was made, and other counters, by name.

        `listed` is how many requests went by lio_listio, `told` how many ends were told, `found`
        how many had to be found, `signal` the number of the signal, 0 if there is none.
        """
        found = {name: noria_posix_calls(self._queue, which)
                 for which, name in enumerate(CALL_NAMES)}
        found["signal"] = self._queue.signal
        return found

    def __dealloc__(self):
        # In a forked child nothing of it works; with requests in it, it stays.
        if self._queue != NULL and self._pid == getpid():
            with nogil:
                noria_posix_finish(self._queue, 0)
            if noria_posix_count(self._queue) == 0:
                noria_posix_free(self._queue)


cpdef int probe(int mode) noexcept:
    """Tell whether there can be a queue that tells in this way: 0, or minus errno."""
    cdef int failure = noria_posix_usable()
    if failure == 0 and not noria_posix_knows(mode):
        failure = ENOTSUP
    return -failure


cpdef int free_signal() noexcept:
    """Give the real-time signal that a queue would take, 0 if none is free."""
    return noria_free_signal()
