# cython: boundscheck=False, wraparound=False
"""A crew of threads in C that make blocking calls on files; no Python runs in them.

One mutex guards everything. A thread without work waits on a condition of its own, and the one that
went to sleep last is called first: the others grow old and end. Whoever finds more work than it can
do calls one more thread, but no more than CALLED_MAX are on their way at a time: a call that
returns at once then costs no wake-up, and those that do not soon have as many threads as they need.

Jobs that read go before all others, and the others together may keep only some of the threads, so
an fsync that hangs holds up no read.

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

cdef extern from *:
    """
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <stdint.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>

    enum { NORIA_CALLED_MAX = 3, NORIA_STREAK_MAX = 16 };
    struct noria_jobs { struct noria_job *first, *last; int count; };

    struct noria_worker {
        pthread_cond_t call;
        struct noria_worker *next;
        int called;
    };

    struct noria_crew {
        pthread_mutex_t mutex;
        pthread_cond_t ended;
        struct noria_jobs reads, bulk, running, done;
        struct noria_worker *idle;
        int idle_count, called, bulk_running, streak;
        int threads, threads_max, bulk_max, queue_max, references;
        int closing, armed, bell;
        size_t stack_bytes;
        long long idle_ns;
        long long started, calls, bells;
    };

    #ifdef __linux__
    enum { NORIA_CLOCK = CLOCK_MONOTONIC };
    #else
    enum { NORIA_CLOCK = CLOCK_REALTIME }; /* conditions elsewhere know no other */
    #endif

    static void noria_make_condition(pthread_cond_t *condition) {
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
    #ifdef __linux__
        pthread_condattr_setclock(&attributes, NORIA_CLOCK);
    #endif
        pthread_cond_init(condition, &attributes);
        pthread_condattr_destroy(&attributes);
    }

    static void noria_in(struct timespec *until, long long duration_ns) {
        clock_gettime(NORIA_CLOCK, until);
        until->tv_sec += duration_ns / 1000000000;
        until->tv_nsec += duration_ns % 1000000000;
        if (until->tv_nsec >= 1000000000) { until->tv_sec++; until->tv_nsec -= 1000000000; }
    }

    static void noria_ring_it(int bell) {
        uint64_t one = 1; /* what an eventfd takes */
        ssize_t written = write(bell, &one, sizeof one);
        (void)written; /* a bell that is full rings */
    }

    static int noria_is_bulk(const struct noria_job *job) {
        return job->kind != NORIA_READ && job->kind != NORIA_READ_INTO &&
               job->kind != NORIA_READ_VECTOR;
    }

    static void noria_append(struct noria_jobs *jobs, struct noria_job *job) {
        job->next = NULL;
        job->before = jobs->last;
        if (jobs->last) jobs->last->next = job; else jobs->first = job;
        jobs->last = job;
        jobs->count++;
    }

    static void noria_remove(struct noria_jobs *jobs, struct noria_job *job) {
        if (job->before) job->before->next = job->next; else jobs->first = job->next;
        if (job->next) job->next->before = job->before; else jobs->last = job->before;
        jobs->count--;
    }

    /* What may keep waiting for somebody else is not opened: ENXIO. */
    static long long noria_write_file(struct noria_job *job) {
        struct stat found;
        size_t done = 0;
        int kept = 0;
        int fd;
        if (stat(job->name, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) {
            errno = ENXIO; /* a FIFO's reader would take its opening for the end */
            return -1;
        }
        fd = open(job->name, job->advice | O_NONBLOCK | O_CLOEXEC, (mode_t)job->offset);
        if (fd < 0) return -1;
        if (fstat(fd, &found) < 0) kept = errno;
        else if (!S_ISREG(found.st_mode)) kept = ENXIO;
        while (!kept && done < job->size) {
            ssize_t count = write(fd, (char *)job->memory + done, job->size - done);
            if (count >= 0) done += count;
            else if (errno != EINTR) kept = errno;
        }
        if (close(fd) < 0 && errno != EINTR && !kept) kept = errno;
        if (!kept) return done;
        errno = kept == EINTR ? EIO : kept;
        return -1;
    }

    static long long noria_call_once(struct noria_job *job) {
        switch (job->kind) {
        case NORIA_READ:
        case NORIA_READ_INTO: return pread(job->fd, job->memory, job->size, job->offset);
        case NORIA_WRITE: return pwrite(job->fd, job->memory, job->size, job->offset);
        case NORIA_WRITE_FILE: return noria_write_file(job);
        case NORIA_FSYNC: return fsync(job->fd);
        case NORIA_TRUNCATE: return ftruncate(job->fd, job->offset);
        case NORIA_CLOSE: /* closed all the same when it was interrupted */
            return close(job->fd) < 0 && errno != EINTR ? -1 : 0;
    #ifdef __linux__
        case NORIA_DATASYNC: return fdatasync(job->fd);
        case NORIA_READ_VECTOR: return preadv(job->fd, job->memory, job->parts, job->offset);
        case NORIA_WRITE_VECTOR: return pwritev(job->fd, job->memory, job->parts, job->offset);
        case NORIA_ALLOCATE:
            errno = posix_fallocate(job->fd, job->offset, job->size);
            return errno ? -1 : 0;
        case NORIA_ADVISE:
            errno = posix_fadvise(job->fd, job->offset, job->size, job->advice);
            return errno ? -1 : 0;
    #endif
        }
        errno = ENOSYS;
        return -1;
    }

    static long long noria_call(struct noria_job *job) {
        long long result;
        do { result = noria_call_once(job); } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : result;
    }

    static void *noria_work(void *argument);

    /* A thread more, with all signals blocked: they are the loop's. The mutex is held. */
    static int noria_start(struct noria_crew *crew) {
        pthread_attr_t attributes;
        pthread_t thread;
        sigset_t all, old;
        int failure;
        pthread_attr_init(&attributes);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attributes, crew->stack_bytes);
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        failure = pthread_create(&thread, &attributes, noria_work, crew);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        pthread_attr_destroy(&attributes);
        if (failure) return -failure;
        crew->threads++;
        crew->references++;
        crew->started++;
        return 0;
    }

    static int noria_startable(const struct noria_crew *crew) {
        int room = crew->bulk_max - crew->bulk_running;
        int bulk = crew->bulk.count < room ? crew->bulk.count : room;
        return crew->reads.count + (bulk > 0 ? bulk : 0);
    }

    static void noria_call_more(struct noria_crew *crew) {
        while (crew->called < NORIA_CALLED_MAX && crew->called < noria_startable(crew)) {
            struct noria_worker *worker = crew->idle;
            if (worker) {
                crew->idle = worker->next;
                crew->idle_count--;
                worker->called = 1;
                crew->called++;
                pthread_cond_signal(&worker->call);
            } else if (crew->threads < crew->threads_max && noria_start(crew) == 0) {
                crew->called++;
            } else {
                return;
            }
        }
    }

    static struct noria_job *noria_next(struct noria_crew *crew) {
        struct noria_jobs *from = NULL;
        struct noria_job *job;
        int bulk = crew->bulk.count && crew->bulk_running < crew->bulk_max;
        if (crew->reads.count && !(bulk && crew->streak >= NORIA_STREAK_MAX)) {
            from = &crew->reads;
            crew->streak++;
        } else if (bulk) {
            from = &crew->bulk;
            crew->streak = 0;
            crew->bulk_running++;
        }
        if (!from) return NULL;
        job = from->first;
        noria_remove(from, job);
        return job;
    }

    /* Wait to be called; 0 if nobody did for as long as a thread may idle. */
    static int noria_rest(struct noria_crew *crew, struct noria_worker *me) {
        struct timespec until;
        struct noria_worker **place;
        noria_in(&until, crew->idle_ns);
        me->called = 0;
        me->next = crew->idle;
        crew->idle = me;
        crew->idle_count++;
        while (!me->called && !crew->closing) {
            if (pthread_cond_timedwait(&me->call, &crew->mutex, &until) == ETIMEDOUT) break;
        }
        if (me->called) {
            crew->called--;
            return 1;
        }
        for (place = &crew->idle; *place != me; place = &(*place)->next) {}
        *place = me->next;
        crew->idle_count--;
        return 0;
    }

    /* The mutex is held, and given up here for good. */
    static void noria_let_go(struct noria_crew *crew) {
        int left = --crew->references;
        pthread_mutex_unlock(&crew->mutex);
        if (left) return;
        close(crew->bell);
        pthread_cond_destroy(&crew->ended);
        pthread_mutex_destroy(&crew->mutex);
        free(crew);
    }

    static void noria_finish(struct noria_crew *crew, struct noria_job *job, long long result) {
        job->result = result;
        job->state = NORIA_DONE;
        noria_append(&crew->done, job);
        if (crew->armed) {
            crew->armed = 0;
            crew->bells++;
            pthread_mutex_unlock(&crew->mutex);
            noria_ring_it(crew->bell);
            pthread_mutex_lock(&crew->mutex);
        }
    }

    static void *noria_work(void *argument) {
        struct noria_crew *crew = argument;
        struct noria_worker me = {.called = 0};
        struct noria_job *job;
        noria_make_condition(&me.call);
        pthread_mutex_lock(&crew->mutex);
        crew->called--;
        for (;;) {
            job = noria_next(crew);
            if (job) {
                long long result;
                job->state = NORIA_RUNNING;
                noria_append(&crew->running, job);
                crew->calls++;
                noria_call_more(crew);
                pthread_mutex_unlock(&crew->mutex);
                result = noria_call(job);
                pthread_mutex_lock(&crew->mutex);
                noria_remove(&crew->running, job);
                if (noria_is_bulk(job)) crew->bulk_running--;
                noria_finish(crew, job, result);
            } else if (crew->closing || !noria_rest(crew, &me)) {
                if (!noria_startable(crew)) break;
            }
        }
        crew->threads--;
        pthread_cond_broadcast(&crew->ended);
        pthread_cond_destroy(&me.call);
        noria_let_go(crew);
        return NULL;
    }

    static struct noria_crew *noria_crew_make(int bell, int threads_max, int bulk_max,
                                              int queue_max, long long idle_ns, size_t stack) {
        struct noria_crew *crew = calloc(1, sizeof *crew);
        if (!crew) return NULL;
        crew->bell = fcntl(bell, F_DUPFD_CLOEXEC, 0); /* so that it outlives the loop's number */
        if (crew->bell < 0) { free(crew); return NULL; }
        noria_make_condition(&crew->ended);
        pthread_mutex_init(&crew->mutex, NULL);
        crew->threads_max = threads_max;
        crew->bulk_max = bulk_max;
        crew->queue_max = queue_max;
        crew->idle_ns = idle_ns;
        crew->stack_bytes = stack;
        crew->references = 1;
        return crew;
    }

    static int noria_crew_submit(struct noria_crew *crew, struct noria_job *job) {
        struct noria_jobs *queue = noria_is_bulk(job) ? &crew->bulk : &crew->reads;
        int failure = 0;
        pthread_mutex_lock(&crew->mutex);
        if (crew->closing) failure = -EBADF;
        else if (crew->reads.count + crew->bulk.count >= crew->queue_max) failure = -EAGAIN;
        else {
            job->state = NORIA_QUEUED;
            noria_append(queue, job);
            noria_call_more(crew);
            if (!crew->threads) { /* and there will be none: the system has no more */
                noria_remove(queue, job);
                job->state = NORIA_IDLE_JOB;
                failure = -EAGAIN;
            }
        }
        pthread_mutex_unlock(&crew->mutex);
        return failure;
    }

    static int noria_crew_cancel(struct noria_crew *crew, struct noria_job *job) {
        int queued;
        pthread_mutex_lock(&crew->mutex);
        queued = job->state == NORIA_QUEUED;
        if (queued) {
            noria_remove(noria_is_bulk(job) ? &crew->bulk : &crew->reads, job);
            noria_finish(crew, job, -ECANCELED);
        }
        pthread_mutex_unlock(&crew->mutex);
        return queued;
    }

    static int noria_crew_flush(struct noria_crew *crew) {
        int done;
        pthread_mutex_lock(&crew->mutex);
        done = crew->done.count;
        crew->armed = !done;
        pthread_mutex_unlock(&crew->mutex);
        return done != 0;
    }

    static struct noria_job *noria_crew_take(struct noria_crew *crew, int most) {
        struct noria_job *first, *last;
        pthread_mutex_lock(&crew->mutex);
        crew->armed = 0;
        first = crew->done.first;
        if (most >= crew->done.count) {
            memset(&crew->done, 0, sizeof crew->done);
        } else {
            crew->done.count -= most;
            for (last = first; --most; last = last->next) {}
            crew->done.first = last->next;
            crew->done.first->before = NULL;
            last->next = NULL;
        }
        pthread_mutex_unlock(&crew->mutex);
        return first;
    }

    static int noria_crew_close(struct noria_crew *crew, long long timeout_ns) {
        struct noria_worker *worker;
        struct noria_job *job;
        struct timespec until;
        int running;
        noria_in(&until, timeout_ns);
        pthread_mutex_lock(&crew->mutex);
        crew->closing = 1;
        crew->armed = 0;
        while ((job = crew->reads.first)) {
            noria_remove(&crew->reads, job);
            noria_finish(crew, job, -ECANCELED);
        }
        while ((job = crew->bulk.first)) {
            noria_remove(&crew->bulk, job);
            noria_finish(crew, job, -ECANCELED);
        }
        for (worker = crew->idle; worker; worker = worker->next) pthread_cond_signal(&worker->call);
        while (crew->threads) {
            if (pthread_cond_timedwait(&crew->ended, &crew->mutex, &until) == ETIMEDOUT) break;
        }
        running = crew->running.count;
        pthread_mutex_unlock(&crew->mutex);
        return running;
    }

    static void noria_crew_drop(struct noria_crew *crew) {
        pthread_mutex_lock(&crew->mutex);
        crew->closing = 1;
        for (struct noria_worker *each = crew->idle; each; each = each->next)
            pthread_cond_signal(&each->call);
        noria_let_go(crew);
    }

    static void noria_crew_lock(struct noria_crew *crew) { pthread_mutex_lock(&crew->mutex); }
    static void noria_crew_unlock(struct noria_crew *crew) { pthread_mutex_unlock(&crew->mutex); }
    static struct noria_job *noria_crew_running(struct noria_crew *crew) {
        return crew->running.first;
    }

    static long long noria_crew_count(struct noria_crew *crew, int which) {
        long long found;
        pthread_mutex_lock(&crew->mutex);
        found = which == 0 ? crew->threads
              : which == 1 ? crew->reads.count + crew->bulk.count + crew->running.count
                             + crew->done.count
              : which == 2 ? crew->started
              : which == 3 ? crew->calls
                           : crew->bells;
        pthread_mutex_unlock(&crew->mutex);
        return found;
    }
    """
    noria_crew *noria_crew_make(int bell, int threads_max, int bulk_max, int queue_max,
                                long long idle_ns, size_t stack) noexcept
    int noria_crew_submit(noria_crew *crew, noria_job *job) noexcept
    int noria_crew_cancel(noria_crew *crew, noria_job *job) noexcept
    int noria_crew_flush(noria_crew *crew) noexcept
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

    def __cinit__(self, object token, int kind, int fd, object buffer, long long offset,
                  Py_ssize_t size, int advice):
        self._job.owner = <void *>self
        self._job.kind = self.kind
        self._job.fd = self.fd
        self._job.parts = self.parts
        self._job.advice = self.advice
        self._job.memory = self.memory
        self._job.size = self.size
        self._job.offset = self.offset

    cpdef object set_name(self, bytes name):
        """Say what file WRITE_FILE is about; without a null byte in it."""
        self.name = name
        self._job.name = PyBytes_AS_STRING(name)


cdef class Crew:
    """One crew.

    Args:
        bell: an eventfd; the crew has a duplicate of its own.
        threads_max: most threads.
        bulk_max: most of them that may do something else than read.
        queue_max: most jobs that may wait for a thread.
        idle_ns: how long a thread waits for work before it ends.
        stack_bytes: of each thread.

    Raises:
        OSError: there is not enough memory, or no descriptor is left.
    """

    def __cinit__(self, int bell, int threads_max, int bulk_max, int queue_max, long long idle_ns,
                  Py_ssize_t stack_bytes):
        self._pid = getpid()
        self._crew = noria_crew_make(bell, threads_max, bulk_max, queue_max, idle_ns, stack_bytes)
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

    cpdef bint flush(self) noexcept:
        """Whether something is done already; if not, the bell will tell."""
        return noria_crew_flush(self._crew)

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
        """How many THREADS there are, jobs IN_FLIGHT, threads STARTED so far, CALLS, BELLS."""
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
