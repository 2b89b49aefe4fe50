/* A crew of threads that make blocking calls on files; see crew.pyx, which includes this. */

#ifndef NORIA_CREW_H
#define NORIA_CREW_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "noria/native/job.h"

enum {
    NORIA_CALLED_MAX = 3,
    NORIA_STREAK_MAX = 16,
    NORIA_LUCK_MAX = 256,
    NORIA_LUCK_MIN = 160,  /* five of eight: what is saved is worth more than what is lost */
    NORIA_LUCK_WEIGHT = 8,
    NORIA_LUCK_NEW = 220,  /* three tries that do not pay */
    NORIA_LUCK_EVERY = 64, /* how often it is tried all the same */
    NORIA_LUCK_NS = 20000000, /* after so long something else may be going on */
    NORIA_QUIET_MAX = 2,
    NORIA_KINDS = 64,
    NORIA_TURNS = 256
};

struct noria_jobs { struct noria_job *first, *last; int count; };

/* Writes of one file, which the kernel does one at a time: those that wait for theirs. */
struct noria_turn { struct noria_jobs waiting; int taken, fd; };

/* How often watching for something has paid, and how often it was left out since it did not. */
struct noria_luck { int luck, left_out; long long tried_ns; };

struct noria_worker {
    pthread_cond_t call;
    struct noria_worker *next;
    int called;
};

struct noria_crew {
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    struct noria_jobs reads, bulk, running, done;
    struct noria_worker *idle, *watcher;
    struct noria_luck worker_luck, caller_luck[NORIA_KINDS];
    struct noria_turn turns[NORIA_TURNS];
    int idle_count, called, bulk_running, streak;
    int threads, threads_max, bulk_max, queue_max, references, waiting_count;
    int closing, armed, bell;
    size_t stack_bytes;
    long long idle_ns, watch_ns;
    long long started, calls, bells, watches, vain_watches;
};

#ifdef __linux__
enum { NORIA_CLOCK = CLOCK_MONOTONIC };
#else
enum { NORIA_CLOCK = CLOCK_REALTIME }; /* conditions elsewhere know no other */
#endif

static inline void noria_make_condition(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifdef __linux__
    pthread_condattr_setclock(&attributes, NORIA_CLOCK);
#endif
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static inline void noria_until(struct timespec *until, long long duration_ns) {
    clock_gettime(NORIA_CLOCK, until);
    until->tv_sec += duration_ns / 1000000000;
    until->tv_nsec += duration_ns % 1000000000;
    if (until->tv_nsec >= 1000000000) { until->tv_sec++; until->tv_nsec -= 1000000000; }
}

static inline void noria_ring_it(int bell) {
    uint64_t one = 1; /* what an eventfd takes */
    ssize_t written = write(bell, &one, sizeof one);
    (void)written; /* a bell that is full rings */
}

static inline int noria_is_bulk(const struct noria_job *job) {
    return job->kind != NORIA_READ && job->kind != NORIA_READ_INTO &&
           job->kind != NORIA_READ_VECTOR && job->kind != NORIA_OPEN_FILE &&
           !(job->kind >= NORIA_UNLINK && job->kind <= NORIA_SYMLINK);
}

/* Whose turn it has to be; NULL for what goes on beside everything else. */
static inline struct noria_turn *noria_turn_of(struct noria_crew *crew,
                                               const struct noria_job *job) {
    int orderly = job->kind == NORIA_WRITE || job->kind == NORIA_WRITE_VECTOR;
    unsigned int place = (unsigned int)job->fd % NORIA_TURNS; /* the number may be none: -1 */
    return orderly && !job->beside ? &crew->turns[place] : NULL;
}

static inline void noria_append(struct noria_jobs *jobs, struct noria_job *job) {
    job->next = NULL;
    job->before = jobs->last;
    if (jobs->last) jobs->last->next = job; else jobs->first = job;
    jobs->last = job;
    jobs->count++;
}

static inline void noria_prepend(struct noria_jobs *jobs, struct noria_job *job) {
    job->before = NULL;
    job->next = jobs->first;
    if (jobs->first) jobs->first->before = job; else jobs->last = job;
    jobs->first = job;
    jobs->count++;
}

static inline void noria_remove(struct noria_jobs *jobs, struct noria_job *job) {
    if (job->before) job->before->next = job->next; else jobs->first = job->next;
    if (job->next) job->next->before = job->before; else jobs->last = job->before;
    jobs->count--;
}

static inline void *noria_work(void *argument);

/* A thread more, with all signals blocked: they are the loop's. The mutex is held. */
static inline int noria_start(struct noria_crew *crew) {
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

static inline int noria_startable(const struct noria_crew *crew) {
    int room = crew->bulk_max - crew->bulk_running;
    int bulk = crew->bulk.count < room ? crew->bulk.count : room;
    return crew->reads.count + (bulk > 0 ? bulk : 0);
}

/* -- watching: not to sleep for what is about to come ----------------------------------------- */

static inline long long noria_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static inline void noria_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Until it is not 0 any more, or the time is over. The mutex is not held. */
static inline void noria_watch(const int *what, long long duration_ns) {
    long long until_ns = noria_clock_ns() + duration_ns;
    do {
        for (int round = 0; round < 16; round++) {
            if (__atomic_load_n(what, __ATOMIC_ACQUIRE)) return;
            noria_relax();
        }
    } while (noria_clock_ns() < until_ns);
}

static inline int noria_is_worth(struct noria_luck *luck) {
    if (luck->luck >= NORIA_LUCK_MIN) return 1;
    if (noria_clock_ns() - luck->tried_ns > NORIA_LUCK_NS) {
        luck->luck = NORIA_LUCK_NEW;
        luck->left_out = 0;
        return 1;
    }
    if (++luck->left_out < NORIA_LUCK_EVERY) return 0;
    luck->left_out = 0;
    return 1;
}

/* Where much goes on, the processors have better things to do than to watch. */
static inline int noria_is_quiet(const struct noria_crew *crew) {
    int jobs = crew->running.count + crew->reads.count + crew->bulk.count;
    return crew->watch_ns && jobs <= NORIA_QUIET_MAX;
}

/* That of the job that will probably end first; how long a job takes depends on its kind. */
static inline struct noria_luck *noria_luck_of_first(struct noria_crew *crew) {
    const struct noria_job *job = crew->running.first ? crew->running.first
                                : crew->reads.first   ? crew->reads.first
                                                      : crew->bulk.first;
    return job ? &crew->caller_luck[job->kind % NORIA_KINDS] : NULL;
}

static inline void noria_learn(struct noria_crew *crew, struct noria_luck *luck, int paid) {
    luck->luck += ((paid ? NORIA_LUCK_MAX : 0) - luck->luck) / NORIA_LUCK_WEIGHT;
    luck->tried_ns = noria_clock_ns();
    crew->watches++;
    if (!paid) crew->vain_watches++;
}

static inline void noria_call_more(struct noria_crew *crew) {
    while (crew->called < NORIA_CALLED_MAX && crew->called < noria_startable(crew)) {
        struct noria_worker *worker = crew->idle;
        if (crew->watcher) {
            __atomic_store_n(&crew->watcher->called, 1, __ATOMIC_RELEASE);
            crew->watcher = NULL;
            crew->called++;
        } else if (worker) {
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

static inline struct noria_job *noria_next(struct noria_crew *crew) {
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
static inline int noria_rest(struct noria_crew *crew, struct noria_worker *me) {
    struct timespec until;
    struct noria_worker **place;
    me->called = 0;
    if (noria_is_quiet(crew) && !crew->watcher && noria_is_worth(&crew->worker_luck)) {
        crew->watcher = me;
        pthread_mutex_unlock(&crew->mutex);
        noria_watch(&me->called, crew->watch_ns);
        pthread_mutex_lock(&crew->mutex);
        noria_learn(crew, &crew->worker_luck, me->called);
        if (me->called) {
            crew->called--;
            return 1;
        }
        crew->watcher = NULL;
    }
    noria_until(&until, crew->idle_ns);
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
static inline void noria_let_go(struct noria_crew *crew) {
    int left = --crew->references;
    pthread_mutex_unlock(&crew->mutex);
    if (left) return;
    close(crew->bell);
    pthread_cond_destroy(&crew->ended);
    pthread_mutex_destroy(&crew->mutex);
    free(crew);
}

static inline void noria_finish(struct noria_crew *crew, struct noria_job *job, long long result) {
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

/* Let the next write of the file have its turn, before all that queue. */
static inline void noria_end_turn(struct noria_crew *crew, struct noria_job *job) {
    struct noria_turn *turn = noria_turn_of(crew, job);
    struct noria_job *next;
    if (!turn) return;
    next = turn->waiting.first;
    if (!next) {
        turn->taken = 0;
        return;
    }
    noria_remove(&turn->waiting, next);
    crew->waiting_count--;
    next->state = NORIA_QUEUED;
    noria_prepend(&crew->bulk, next);
}

static inline void *noria_work(void *argument) {
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
            noria_end_turn(crew, job);
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

static inline struct noria_crew *noria_crew_make(int bell, int threads_max, int bulk_max,
                                          int queue_max, long long idle_ns, size_t stack,
                                          long long watch_ns) {
    struct noria_crew *crew = calloc(1, sizeof *crew);
    pthread_mutexattr_t attributes;
    if (!crew) return NULL;
    crew->bell = fcntl(bell, F_DUPFD_CLOEXEC, 0); /* so that it outlives the loop's number */
    if (crew->bell < 0) { free(crew); return NULL; }
    noria_make_condition(&crew->ended);
    pthread_mutexattr_init(&attributes);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP); /* it is held briefly */
#endif
    pthread_mutex_init(&crew->mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    crew->threads_max = threads_max;
    crew->bulk_max = bulk_max;
    crew->queue_max = queue_max;
    crew->idle_ns = idle_ns;
    crew->watch_ns = watch_ns;
    crew->worker_luck.luck = NORIA_LUCK_MAX;
    for (int kind = 0; kind < NORIA_KINDS; kind++) crew->caller_luck[kind].luck = NORIA_LUCK_MAX;
    crew->stack_bytes = stack;
    crew->references = 1;
    return crew;
}

static inline int noria_crew_submit(struct noria_crew *crew, struct noria_job *job) {
    struct noria_jobs *queue = noria_is_bulk(job) ? &crew->bulk : &crew->reads;
    struct noria_turn *turn = noria_turn_of(crew, job);
    int queued, failure = 0;
    pthread_mutex_lock(&crew->mutex);
    if (turn && turn->taken && turn->fd != job->fd) {
        job->beside = 1; /* another file has the place, and may hang */
        turn = NULL;
    }
    queued = crew->reads.count + crew->bulk.count + crew->waiting_count;
    if (crew->closing) failure = -EBADF;
    else if (queued >= crew->queue_max) failure = -EAGAIN;
    else if (turn && turn->taken) {
        job->state = NORIA_WAITING;
        noria_append(&turn->waiting, job);
        crew->waiting_count++;
    } else {
        if (turn) {
            turn->taken = 1;
            turn->fd = job->fd;
        }
        job->state = NORIA_QUEUED;
        noria_append(queue, job);
        noria_call_more(crew);
        if (!crew->threads) { /* and there will be none: the system has no more */
            noria_remove(queue, job);
            noria_end_turn(crew, job);
            job->state = NORIA_IDLE_JOB;
            failure = -EAGAIN;
        }
    }
    pthread_mutex_unlock(&crew->mutex);
    return failure;
}

static inline int noria_crew_cancel(struct noria_crew *crew, struct noria_job *job) {
    int state;
    pthread_mutex_lock(&crew->mutex);
    state = job->state;
    if (state == NORIA_QUEUED) {
        noria_remove(noria_is_bulk(job) ? &crew->bulk : &crew->reads, job);
        noria_end_turn(crew, job);
    } else if (state == NORIA_WAITING) {
        noria_remove(&noria_turn_of(crew, job)->waiting, job);
        crew->waiting_count--;
    }
    if (state == NORIA_QUEUED || state == NORIA_WAITING) noria_finish(crew, job, -ECANCELED);
    pthread_mutex_unlock(&crew->mutex);
    return state == NORIA_QUEUED || state == NORIA_WAITING;
}

/* Whether something is done; if not, the bell will tell. Who would sleep otherwise may watch. */
static inline int noria_crew_flush(struct noria_crew *crew, int patient) {
    struct noria_luck *luck;
    int done;
    pthread_mutex_lock(&crew->mutex);
    luck = noria_luck_of_first(crew);
    if (patient && noria_is_quiet(crew) && !crew->done.count && luck && noria_is_worth(luck)) {
        pthread_mutex_unlock(&crew->mutex);
        noria_watch(&crew->done.count, crew->watch_ns);
        pthread_mutex_lock(&crew->mutex);
        noria_learn(crew, luck, crew->done.count);
    }
    done = crew->done.count;
    crew->armed = !done;
    pthread_mutex_unlock(&crew->mutex);
    return done != 0;
}

static inline struct noria_job *noria_crew_take(struct noria_crew *crew, int most) {
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

static inline int noria_crew_close(struct noria_crew *crew, long long timeout_ns) {
    struct noria_worker *worker;
    struct noria_job *job;
    struct timespec until;
    int running;
    noria_until(&until, timeout_ns);
    pthread_mutex_lock(&crew->mutex);
    crew->closing = 1;
    crew->armed = 0;
    while ((job = crew->reads.first)) {
        noria_remove(&crew->reads, job);
        noria_finish(crew, job, -ECANCELED);
    }
    while ((job = crew->bulk.first)) {
        noria_remove(&crew->bulk, job);
        noria_end_turn(crew, job); /* what waited for it comes to the front, and ends as well */
        noria_finish(crew, job, -ECANCELED);
    }
    for (int turn = 0; turn < NORIA_TURNS; turn++) {
        while ((job = crew->turns[turn].waiting.first)) { /* for one that runs */
            noria_remove(&crew->turns[turn].waiting, job);
            crew->waiting_count--;
            noria_finish(crew, job, -ECANCELED);
        }
    }
    for (worker = crew->idle; worker; worker = worker->next) pthread_cond_signal(&worker->call);
    while (crew->threads) {
        if (pthread_cond_timedwait(&crew->ended, &crew->mutex, &until) == ETIMEDOUT) break;
    }
    running = crew->running.count;
    pthread_mutex_unlock(&crew->mutex);
    return running;
}

static inline void noria_crew_drop(struct noria_crew *crew) {
    pthread_mutex_lock(&crew->mutex);
    crew->closing = 1;
    for (struct noria_worker *each = crew->idle; each; each = each->next)
        pthread_cond_signal(&each->call);
    noria_let_go(crew);
}

static inline void noria_crew_lock(struct noria_crew *crew) {
    pthread_mutex_lock(&crew->mutex);
}

static inline void noria_crew_unlock(struct noria_crew *crew) {
    pthread_mutex_unlock(&crew->mutex);
}

static inline struct noria_job *noria_crew_running(struct noria_crew *crew) {
    return crew->running.first;
}

static inline long long noria_crew_count(struct noria_crew *crew, int which) {
    long long found;
    pthread_mutex_lock(&crew->mutex);
    found = which == 0 ? crew->threads
          : which == 1 ? crew->reads.count + crew->bulk.count + crew->running.count
                         + crew->waiting_count + crew->done.count
          : which == 2 ? crew->started
          : which == 3 ? crew->calls
          : which == 4 ? crew->bells
          : which == 5 ? crew->watches
                       : crew->vain_watches;
    pthread_mutex_unlock(&crew->mutex);
    return found;
}

#endif
