# cython: boundscheck=False, wraparound=False
"""Linux' own asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2).

Requests are gathered and go to the kernel together. What is done is told by the bell, an eventfd(2)
that the kernel writes (IOCB_FLAG_RESFD), and is read from the ring of completions that io_setup
maps into the process, without a system call. The header of that ring tells its layout; where it is
another one than is known here, io_getevents is called with a timeout of zero.

Every transfer has RWF_NOWAIT, since io_submit would do in its caller what cannot be begun without
waiting: a buffered read that is not cached, a direct write behind the end of the file. Such a
request completes with -EAGAIN, or with what was there. What the kernel refuses to take ends with
the error and `refused()`; whoever asked does it by other means.

A context that is given up while requests run stays, and so does their memory: io_destroy(2) would
wait for them without a bound.
"""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t
from noria.native.transfer cimport Transfer

import os

COMPILED = True

cdef extern from *:
    """
    #include <errno.h>
    #include <stdlib.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>
    #ifdef __linux__
    #include <sys/syscall.h>
    #endif

    enum { NORIA_IOCB_READ = 0, NORIA_IOCB_WRITE = 1, NORIA_IOCB_FSYNC = 2, NORIA_IOCB_FDSYNC = 3,
           NORIA_IOCB_READV = 7, NORIA_IOCB_WRITEV = 8 };
    enum { NORIA_IOCB_RESFD = 1, NORIA_RWF_NOWAIT = 8 };
    enum { NORIA_AT_ONCE = 256, NORIA_EVENTS_AT_ONCE = 64 };
    enum { NORIA_AIO_SETUP, NORIA_AIO_SUBMIT, NORIA_AIO_GETEVENTS, NORIA_AIO_CANCEL,
           NORIA_AIO_DESTROY, NORIA_AIO_READS, NORIA_AIO_TAKEN, NORIA_AIO_FULL, NORIA_AIO_COUNTS };

    struct noria_event { uint64_t data, request; int64_t result, result2; };

    /* struct aio_ring of the kernel's fs/aio.c, as its users read it since 2.6. */
    struct noria_events {
        uint32_t id, count, head, tail, magic, compatible, incompatible, header_bytes;
        struct noria_event events[];
    };
    #define NORIA_EVENTS_MAGIC 0xa10a10a1u

    struct noria_lents { struct noria_lent *first, *last; int count; };

    struct noria_aio {
        unsigned long id;
        struct noria_events *ring;
        struct noria_lents gathered, given, ended;
        int bell, gathered_max, more;
        long long counts[NORIA_AIO_COUNTS];
    };

    static void noria_lent_append(struct noria_lents *lents, struct noria_lent *lent) {
        lent->next = NULL;
        lent->before = lents->last;
        if (lents->last) lents->last->next = lent; else lents->first = lent;
        lents->last = lent;
        lents->count++;
    }

    static void noria_lent_remove(struct noria_lents *lents, struct noria_lent *lent) {
        if (lent->before) lent->before->next = lent->next; else lents->first = lent->next;
        if (lent->next) lent->next->before = lent->before; else lents->last = lent->before;
        lents->count--;
    }

    static void noria_aio_end(struct noria_aio *aio, struct noria_lent *lent, long long result,
                              int refused) {
        lent->state = NORIA_AIO_ENDED;
        lent->result = result;
        lent->refused = refused;
        noria_lent_append(&aio->ended, lent);
    }

    static void noria_lent_fill(struct noria_lent *lent, int kind, int fd, uint64_t memory,
                                uint64_t size, int parts, long long offset) {
        struct noria_iocb *iocb = &lent->iocb;
        memset(iocb, 0, sizeof *iocb);
        iocb->data = (uint64_t)(uintptr_t)lent;
        iocb->fd = (uint32_t)fd;
        switch (kind) { /* fsync takes nothing else but zeros */
        case NORIA_FSYNC: iocb->opcode = NORIA_IOCB_FSYNC; return;
        case NORIA_DATASYNC: iocb->opcode = NORIA_IOCB_FDSYNC; return;
        case NORIA_READ:
        case NORIA_READ_INTO: iocb->opcode = NORIA_IOCB_READ; break;
        case NORIA_WRITE: iocb->opcode = NORIA_IOCB_WRITE; break;
        case NORIA_READ_VECTOR: iocb->opcode = NORIA_IOCB_READV; break;
        default: iocb->opcode = NORIA_IOCB_WRITEV;
        }
        iocb->rw_flags = NORIA_RWF_NOWAIT;
        iocb->memory = memory;
        iocb->size = iocb->opcode >= NORIA_IOCB_READV ? (uint64_t)parts : size;
        iocb->offset = offset;
    }

    #if defined(__linux__) && defined(SYS_io_setup)
    #define noria_aio_call(number, ...) syscall(SYS_io_##number, __VA_ARGS__)
    #else
    #define noria_aio_call(number, ...) (errno = ENOSYS, -1L)
    #endif

    /* Whether the calls are there: what asks for no events is refused with EINVAL. */
    static int noria_aio_probe(void) {
        unsigned long id = 0;
        return noria_aio_call(setup, 0, &id) < 0 && errno != EINVAL ? -errno : 0;
    }

    static struct noria_aio *noria_aio_make(int bell, unsigned events, int gathered_max) {
        struct noria_aio *aio = calloc(1, sizeof *aio);
        struct noria_events *ring;
        if (!aio) { errno = ENOMEM; return NULL; }
        if (noria_aio_call(setup, events, &aio->id) < 0) {
            int failure = errno;
            free(aio);
            errno = failure;
            return NULL;
        }
        aio->bell = bell;
        aio->gathered_max = gathered_max;
        aio->counts[NORIA_AIO_SETUP]++;
        ring = (struct noria_events *)(uintptr_t)aio->id;
        if (ring->magic == NORIA_EVENTS_MAGIC && !ring->incompatible && ring->count
            && ring->header_bytes == sizeof *ring)
            aio->ring = ring;
        return aio;
    }

    static int noria_aio_submit(struct noria_aio *aio, struct noria_lent *lent) {
        if (aio->gathered.count >= aio->gathered_max) return -EAGAIN;
        lent->state = NORIA_AIO_GATHERED;
        lent->iocb.bell = (uint32_t)aio->bell;
        lent->iocb.flags = aio->bell < 0 ? 0 : NORIA_IOCB_RESFD;
        noria_lent_append(&aio->gathered, lent);
        return 0;
    }

    /* The first of those gathered was not taken: 1 if the next one may be. */
    static int noria_aio_not_taken(struct noria_aio *aio, int failure) {
        struct noria_lent *lent = aio->gathered.first;
        if (failure == EINTR) return 1;
        if (failure == EAGAIN && aio->given.count) { /* full; what ends makes room */
            aio->counts[NORIA_AIO_FULL]++;
            return 0;
        }
        noria_lent_remove(&aio->gathered, lent);
        noria_aio_end(aio, lent, -failure, 1);
        return 1;
    }

    static void noria_aio_hand_over(struct noria_aio *aio) {
        struct noria_iocb *iocbs[NORIA_AT_ONCE];
        while (aio->gathered.count) {
            struct noria_lent *lent = aio->gathered.first;
            long count = 0, taken;
            for (; lent && count < NORIA_AT_ONCE; lent = lent->next) iocbs[count++] = &lent->iocb;
            aio->counts[NORIA_AIO_SUBMIT]++;
            taken = noria_aio_call(submit, aio->id, count, iocbs);
            if (taken <= 0 && !noria_aio_not_taken(aio, taken < 0 ? errno : EAGAIN)) return;
            for (; taken > 0; taken--) {
                lent = aio->gathered.first;
                noria_lent_remove(&aio->gathered, lent);
                lent->state = NORIA_AIO_GIVEN;
                noria_lent_append(&aio->given, lent);
                aio->counts[NORIA_AIO_TAKEN]++;
            }
        }
    }

    static int noria_aio_ready(const struct noria_aio *aio) {
        if (aio->ended.count) return 1;
        if (!aio->ring) return aio->more;
        return __atomic_load_n(&aio->ring->tail, __ATOMIC_ACQUIRE) != aio->ring->head;
    }

    static int noria_aio_cancel(struct noria_aio *aio, struct noria_lent *lent) {
        struct noria_event event;
        if (lent->state == NORIA_AIO_GATHERED) {
            noria_lent_remove(&aio->gathered, lent);
            noria_aio_end(aio, lent, -ECANCELED, 0);
            return 1;
        }
        if (lent->state == NORIA_AIO_GIVEN) {
            /* The completion tells: since 3.11 it comes by the ring in any case. */
            aio->counts[NORIA_AIO_CANCEL]++;
            return noria_aio_call(cancel, aio->id, &lent->iocb, &event) == 0
                   || errno == EINPROGRESS;
        }
        return 0;
    }

    static void noria_aio_take(struct noria_aio *aio, const struct noria_event *event) {
        struct noria_lent *lent = (struct noria_lent *)(uintptr_t)event->data;
        noria_lent_remove(&aio->given, lent);
        noria_aio_end(aio, lent, event->result, 0);
    }

    static void noria_aio_read_ring(struct noria_aio *aio, int most) {
        struct noria_events *ring = aio->ring;
        uint32_t head = ring->head, tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
        if (head == tail) return;
        aio->counts[NORIA_AIO_READS]++;
        for (; head != tail && most > 0; most--) {
            noria_aio_take(aio, &ring->events[head]);
            head = head + 1 == ring->count ? 0 : head + 1;
        }
        __atomic_store_n(&ring->head, head, __ATOMIC_RELEASE);
    }

    /* Take completions by the call, after waiting for one of them if `timeout` says so. */
    static long noria_aio_get(struct noria_aio *aio, int most, long seconds, long nanoseconds) {
        struct noria_event events[NORIA_EVENTS_AT_ONCE];
        struct { long seconds, nanoseconds; } timeout = {seconds, nanoseconds};
        long count;
        if (most > NORIA_EVENTS_AT_ONCE) most = NORIA_EVENTS_AT_ONCE;
        aio->counts[NORIA_AIO_GETEVENTS]++;
        count = noria_aio_call(getevents, aio->id, seconds || nanoseconds ? 1L : 0L, (long)most,
                               events, &timeout);
        aio->more = count == most;
        for (long each = 0; each < count; each++) noria_aio_take(aio, &events[each]);
        return count;
    }

    static struct noria_lent *noria_aio_reap(struct noria_aio *aio, int most) {
        struct noria_lent *first, *last;
        int room = most - aio->ended.count;
        if (room > 0 && aio->given.count) {
            if (aio->ring) noria_aio_read_ring(aio, room);
            else noria_aio_get(aio, room, 0, 0);
        }
        first = aio->ended.first;
        if (aio->ended.count <= most) {
            memset(&aio->ended, 0, sizeof aio->ended);
        } else {
            aio->ended.count -= most;
            for (last = first; --most; last = last->next) {}
            aio->ended.first = last->next;
            aio->ended.first->before = NULL;
            last->next = NULL;
        }
        return first;
    }

    static long long noria_aio_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }

    /* End what was not handed over, and wait for the rest; how many still run. */
    static int noria_aio_finish(struct noria_aio *aio, long long timeout_ns) {
        long long left, until = noria_aio_now() + timeout_ns;
        while (aio->gathered.count) noria_aio_cancel(aio, aio->gathered.first);
        while (aio->given.count) {
            left = until - noria_aio_now();
            if (left <= 0) {
                noria_aio_get(aio, NORIA_EVENTS_AT_ONCE, 0, 0);
                if (!aio->more) break;
            } else if (noria_aio_get(aio, NORIA_EVENTS_AT_ONCE, left / 1000000000,
                                     left % 1000000000) < 0 && errno != EINTR) {
                break;
            }
        }
        return aio->given.count;
    }

    static void noria_aio_destroy(struct noria_aio *aio) {
        if (!aio->id) return;
        aio->counts[NORIA_AIO_DESTROY]++;
        noria_aio_call(destroy, aio->id);
        aio->id = 0;
        aio->ring = NULL;
    }

    static struct noria_lent *noria_aio_given(struct noria_aio *aio) { return aio->given.first; }
    static int noria_aio_count(struct noria_aio *aio) {
        return aio->gathered.count + aio->given.count + aio->ended.count;
    }
    static long long noria_aio_calls(struct noria_aio *aio, int which) {
        return aio->counts[which];
    }
    """
    int noria_aio_probe() noexcept
    noria_aio *noria_aio_make(int bell, unsigned int events, int gathered_max) noexcept
    void noria_lent_fill(noria_lent *lent, int kind, int fd, uint64_t memory, uint64_t size,
                         int parts, long long offset) noexcept
    int noria_aio_submit(noria_aio *aio, noria_lent *lent) noexcept
    int noria_aio_cancel(noria_aio *aio, noria_lent *lent) noexcept
    void noria_aio_hand_over(noria_aio *aio) noexcept
    int noria_aio_ready(noria_aio *aio) noexcept
    noria_lent *noria_aio_reap(noria_aio *aio, int most) noexcept
    int noria_aio_finish(noria_aio *aio, long long timeout_ns) noexcept nogil
    void noria_aio_destroy(noria_aio *aio) noexcept nogil
    noria_lent *noria_aio_given(noria_aio *aio) noexcept
    int noria_aio_count(noria_aio *aio) noexcept
    long long noria_aio_calls(noria_aio *aio, int which) noexcept
    void free(void *memory) noexcept
    int getpid() noexcept
    int errno
    enum:
        EAGAIN
        NORIA_AIO_COUNTS

CALL_NAMES = ("io_setup", "io_submit", "io_getevents", "io_cancel", "io_destroy", "ring_reads",
              "taken", "full")


cdef class Iocb(Transfer):
    """A request as the kernel takes it; see Transfer for the arguments."""

    cpdef object fill(self, object token, int kind, int fd, object buffer, long long offset,
                      Py_ssize_t size, int advice):
        """Do what `__init__` does, once."""
        Transfer.fill(self, token, kind, fd, buffer, offset, size, advice)
        self._lent.owner = <void *>self
        noria_lent_fill(&self._lent, kind, fd, self.address(), <uint64_t>self.size, self.parts,
                        offset)

    cpdef bint refused(self) noexcept:
        """Whether the kernel did not even begin: the result says why."""
        return self._lent.refused


cdef class AioContext:
    """One context: what io_setup(2) gives, and what was not handed over yet.

    Args:
        bell: an eventfd; the kernel writes it when something is done.
        events: how many requests there is to be room for; the kernel may have more.
        gathered_max: most requests that may wait to be handed over.

    Raises:
        OSError: there can be no context, EAGAIN if fs.aio-max-nr is used up.
    """

    def __cinit__(self, int bell, unsigned int events, int gathered_max):
        cdef int failure
        self._pid = getpid()
        self._aio = noria_aio_make(bell, events, gathered_max)
        if self._aio == NULL:
            failure = errno
            if failure == EAGAIN:
                raise OSError(failure, "io_setup: the system has no room for another context, "
                                       "see fs.aio-max-nr and fs.aio-nr")
            raise OSError(failure, f"io_setup: {os.strerror(failure)}")

    cpdef int submit(self, Iocb request) except? -1:
        """Gather a request: 0, or -EAGAIN if there are too many."""
        cdef int failure = noria_aio_submit(self._aio, &request._lent)
        if failure == 0:
            Py_INCREF(request)
        return failure

    cpdef bint cancel(self, Iocb request) except -1:
        """End a request that was not handed over, and ask the kernel to end any other.

        Returns:
            False if it is too late, as with every kind of file system.
        """
        return noria_aio_cancel(self._aio, &request._lent)

    cpdef bint flush(self) noexcept:
        """Hand over what was gathered; whether something is done already."""
        noria_aio_hand_over(self._aio)
        return noria_aio_ready(self._aio)

    cpdef list reap(self, int count):
        """Take at most `count` requests (one or more) that are done, each with its `result`."""
        cdef noria_lent *each
        cdef list found = []
        cdef Iocb request
        each = noria_aio_reap(self._aio, count)
        while each != NULL:
            request = <Iocb>each.owner
            each = each.next
            request.result = request._lent.result
            found.append(request)
            Py_DECREF(request)
        return found

    cpdef list close(self, long long timeout_ns):
        """End what was not handed over, wait for the rest, and destroy the context.

        Returns:
            The requests that still run after that time. Their memory stays and `reap` gives them
            when they end; call this again then.
        """
        cdef noria_lent *each
        cdef list left = []
        with nogil:
            if noria_aio_finish(self._aio, timeout_ns) == 0:
                noria_aio_destroy(self._aio)
        each = noria_aio_given(self._aio)
        while each != NULL:
            left.append(<Iocb>each.owner)
            each = each.next
        return left

    cpdef int in_flight(self) noexcept:
        """How many requests it holds."""
        return noria_aio_count(self._aio)

    def calls(self):
        """How often each call was made, and other counters, by name.

        `ring_reads` is how often completions were read without a call, `taken` how many requests
        the kernel took, `full` how often it had no room.
        """
        return {name: noria_aio_calls(self._aio, which) for which, name in enumerate(CALL_NAMES)}

    def __dealloc__(self):
        # In a forked child the context is not there; with requests in it, it stays.
        if self._aio != NULL and self._pid == getpid() and noria_aio_count(self._aio) == 0:
            noria_aio_destroy(self._aio)
            free(self._aio)


cpdef int probe() noexcept:
    """Tell whether there can be a context: 0, or minus errno."""
    return noria_aio_probe()
