# cython: boundscheck=False, wraparound=False
"""A crew of threads in C that make blocking calls on files; no Python runs in them.

One mutex guards everything. A thread without work waits on a condition of its own, and the one that
went to sleep last is called first: the others grow old and end. Whoever finds more work than it can
do calls one more thread, but no more than CALLED_MAX are on their way at a time: a call that
returns at once then costs no wake-up, and those that do not soon have as many threads as they need.

Jobs that read, and those on names, go before all others, and the others together may keep only some
of the threads, so an fsync that hangs holds up no read.

The kernel does the writes of one file one after the other, and threads would wait for each other.
So a write waits for its turn in a queue of its file, and who has done one does the next.

Falling asleep and being called costs more than a quick call does. So one thread without work, and a
caller that would sleep until something is done, first watch for a short time, as long as this pays
more often than not.

What is done is told by one byte on the bell, an eventfd(2), and only when `flush` was asked before,
as an engine does before it waits. A crew that is given up with calls that do not return stays
alive, with their memory, until they do.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport Py_DECREF, Py_INCREF
from noria.native.transfer cimport Transfer

import os

COMPILED = True

THREADS = 0
IN_FLIGHT = 1
STARTED = 2
CALLS = 3
BELLS = 4
WATCHES = 5
VAIN_WATCHES = 6

cdef extern from "noria/native/crew.h":
    noria_crew *noria_crew_make(int bell, int threads_max, int bulk_max, int queue_max,
                                long long idle_ns, size_t stack, long long watch_ns) noexcept
    int noria_crew_submit(noria_crew *crew, noria_job *job) noexcept
    int noria_crew_cancel(noria_crew *crew, noria_job *job) noexcept
    int noria_crew_flush(noria_crew *crew, int patient) noexcept nogil
    noria_job *noria_crew_take(noria_crew *crew, int most) noexcept
    int noria_crew_close(noria_crew *crew, long long timeout_ns) noexcept nogil
    void noria_crew_drop(noria_crew *crew) noexcept
    void noria_crew_lock(noria_crew *crew) noexcept
    void noria_crew_unlock(noria_crew *crew) noexcept
    noria_job *noria_crew_running(noria_crew *crew) noexcept
    long long noria_crew_count(noria_crew *crew, int which) noexcept
    int getpid() noexcept
    enum:
        ENOMEM


cdef class Job(Transfer):
    """A transfer that threads of C can do; see Transfer for the arguments."""

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice):
        """Do what `__init__` does, once."""
        Transfer.fill(self, token, kind, fd, buffer, offset, size, advice)
        self._job.owner = <void *>self
        self._job.kind = self.kind
        self._job.fd = self.fd
        self._job.parts = self.parts
        self._job.advice = self.advice
        self._job.memory = self.memory
        self._job.size = self.size
        self._job.offset = self.offset

    cpdef object set_beside(self):
        """Let a write go on beside other writes of its file, as direct ones can."""
        self._job.beside = 1

    cpdef object set_names(self, bytes name, bytes second):
        """Say what names it is about, the second one perhaps empty; without null bytes in them."""
        self.name = name
        self._job.name = PyBytes_AS_STRING(name)
        self.second = second
        self._job.second = PyBytes_AS_STRING(second)

    cpdef tuple opened(self):
        """Give the mode and the device (stat(2)) of what OPEN_FILE has opened."""
        return self._job.mode, self._job.device


cdef class Crew:
    """One crew.

    Args:
        bell: an eventfd; the crew has a duplicate of its own.
        threads_max: most threads.
        bulk_max: most of them that may do something else than read.
        queue_max: most jobs that may wait for a thread.
        idle_ns: how long a thread waits for work before it ends.
        stack_bytes: of each thread.
        watch_ns: how long to watch for what is about to come before falling asleep; 0 for never.

    Raises:
        OSError: there is not enough memory, or no descriptor is left.
    """

    def __cinit__(self, int bell, int threads_max, int bulk_max, int queue_max, long long idle_ns,
                  Py_ssize_t stack_bytes, long long watch_ns=0):
        self._pid = getpid()
        self._crew = noria_crew_make(bell, threads_max, bulk_max, queue_max, idle_ns, stack_bytes,
                                     watch_ns)
        if self._crew == NULL:
            raise OSError(ENOMEM, os.strerror(ENOMEM))

    cpdef int submit(self, Job job) except? -1:
        """Take a job: 0, -EAGAIN if the queue is full or there can be no thread, or -EBADF."""
        cdef int failure = noria_crew_submit(self._crew, &job._job)
        if failure == 0:
            Py_INCREF(job)
        return failure

    cpdef bint cancel(self, Job job) except -1:
        """End a job that no thread has begun; False if it is too late."""
        return noria_crew_cancel(self._crew, &job._job)

    cpdef bint flush(self, bint patient=False) except -1:
        """Whether something is done already; if not, the bell will tell.

        Args:
            patient: the caller has nothing else to do, so it may watch for a short time.
        """
        cdef bint done
        if not patient:
            return noria_crew_flush(self._crew, False)
        with nogil:
            done = noria_crew_flush(self._crew, True)
        return done

    cpdef list reap(self, int count):
        """Take at most `count` jobs (one or more) that are done, each with its `result`."""
        cdef noria_job *each
        cdef list found = []
        cdef Job job
        each = noria_crew_take(self._crew, count)
        while each != NULL:
            job = <Job>each.owner
            each = each.next
            job.result = job._job.result
            found.append(job)
            Py_DECREF(job)
        return found

    cpdef int count(self, int which) noexcept:
        """How many THREADS there are, jobs IN_FLIGHT, threads STARTED so far, CALLS, BELLS,
        WATCHES, and VAIN_WATCHES among these.
        """
        return <int>noria_crew_count(self._crew, which)

    cpdef list close(self, long long timeout_ns):
        """End what no thread has begun, wait for the rest, and end the threads.

        Returns:
            The jobs that still run after that time; their memory stays, and `reap` gives them when
            they end.
        """
        cdef noria_job *each
        cdef list left = []
        with nogil:
            noria_crew_close(self._crew, timeout_ns)
        noria_crew_lock(self._crew)
        each = noria_crew_running(self._crew)
        while each != NULL:
            left.append(<Job>each.owner)
            each = each.next
        noria_crew_unlock(self._crew)
        return left

    def __dealloc__(self):
        # In a forked child the mutex may be held by a thread that is not there.
        if self._crew != NULL and self._pid == getpid():
            noria_crew_drop(self._crew)
