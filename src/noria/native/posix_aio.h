/* POSIX asynchronous I/O (aio(7)) with three ways to learn what is done; no Python runs in here.
 *
 * thread   the C library starts a thread that writes the bell (SIGEV_THREAD)
 * signal   a real-time signal brings the request's number; its handler writes it to a pipe
 * suspend  a helper thread waits in aio_suspend(3)
 *
 * A notification can get lost: there may be no room for a signal (RLIMIT_SIGPENDING) or no thread.
 * So for the first two the helper asks from time to time what is in flight with aio_error(3), and
 * rings for what has ended and was not told. For lack of a signal glibc also puts EAGAIN in the
 * place of the result.
 *
 * glibc keeps its mutex from setting a result to sending the notification, and aio_error takes that
 * mutex: who has seen the end of a request may free it, and nothing about it is still to be sent
 * but the start of a thread. Elsewhere nobody promises the latter, see noria_signal_over. */
#ifndef NORIA_POSIX_AIO_H
#define NORIA_POSIX_AIO_H

#include "noria/native/posix_told.h"

/* -- lists ---------------------------------------------------------------------------------- */

static inline void noria_control_append(struct noria_controls *list,
                                        struct noria_control *control) {
    control->next = NULL;
    control->before = list->last;
    if (list->last) list->last->next = control; else list->first = control;
    list->last = control;
    list->count++;
}

static inline void noria_control_remove(struct noria_controls *list,
                                        struct noria_control *control) {
    if (control->before) control->before->next = control->next; else list->first = control->next;
    if (control->next) control->next->before = control->before; else list->last = control->before;
    list->count--;
}

/* The mutex is held. */
static inline void noria_control_end(struct noria_posix *queue, struct noria_control *control,
                                     long long result, int refused) {
    control->state = NORIA_CONTROL_ENDED;
    control->result = result;
    control->refused = refused;
    queue->numbers[control->number] = NULL;
    queue->free_numbers[queue->free_count++] = control->number;
    noria_control_append(&queue->ended, control);
}

/* Take a request that is given if it has ended; the mutex is held. */
static inline int noria_control_take(struct noria_posix *queue, struct noria_control *control) {
    ssize_t result;
    int failure = aio_error(&control->aiocb);
    queue->counts[NORIA_AIO_ERROR]++;
    if (failure == EINPROGRESS) return 0;
    if (failure < 0) failure = errno;
    result = aio_return(&control->aiocb);
    queue->counts[NORIA_AIO_RETURN]++;
    noria_control_remove(&queue->given, control);
    noria_control_end(queue, control, failure ? -failure : (long long)result, 0);
    return 1;
}

static inline int noria_posix_scan(struct noria_posix *queue) {
    struct noria_control *each, *next;
    int count = 0;
    for (each = queue->given.first; each; each = next) {
        next = each->next;
        count += noria_control_take(queue, each);
    }
    return count;
}

static inline long long noria_posix_told(const struct noria_posix *queue) {
    return queue->post < 0 ? 0 : __atomic_load_n(&noria_posts[queue->post].told, __ATOMIC_SEQ_CST);
}

/* -- the helper ----------------------------------------------------------------------------- */

static inline void noria_posix_until(struct timespec *until, clockid_t clock,
                                     long long duration_ns) {
    clock_gettime(clock, until);
    until->tv_sec += duration_ns / 1000000000;
    until->tv_nsec += duration_ns % 1000000000;
    if (until->tv_nsec >= 1000000000) { until->tv_sec++; until->tv_nsec -= 1000000000; }
}

/* Wait for the first of what is given now, or for `duration_ns`. The mutex is held before and
 * after; only who calls this takes requests, so none of them goes away meanwhile. */
static inline void noria_posix_suspend(struct noria_posix *queue, long long duration_ns) {
    struct timespec timeout = {duration_ns / 1000000000, duration_ns % 1000000000};
    int count = 0;
    for (struct noria_control *each = queue->given.first; each; each = each->next)
        queue->awaited[count++] = &each->aiocb;
    queue->counts[NORIA_AIO_SUSPEND]++;
    pthread_mutex_unlock(&queue->mutex);
    if (aio_suspend((const void *)queue->awaited, count, &timeout) < 0 && errno == EINVAL) {
        /* a list that is too long for this system: ask again soon */
        struct timespec moment = {0, 1000000};
        nanosleep(&moment, NULL);
    }
    pthread_mutex_lock(&queue->mutex);
}

/* One round of waiting: how many have ended, -1 when the queue is closing. */
static inline int noria_posix_attend(struct noria_posix *queue) {
    int count = 0;
    pthread_mutex_lock(&queue->mutex);
    while (!queue->given.count && !queue->closing)
        pthread_cond_wait(&queue->changed, &queue->mutex);
    if (!queue->closing) noria_posix_suspend(queue, queue->suspend_ns);
    if (queue->closing) count = -1; else count = noria_posix_scan(queue);
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

/* Ring for what has ended and was not told for a whole round. */
static inline void noria_posix_check(struct noria_posix *queue) {
    struct timespec until;
    int found = 0;
    pthread_mutex_lock(&queue->mutex);
    while (!queue->given.count && !queue->closing)
        pthread_cond_wait(&queue->changed, &queue->mutex);
    noria_posix_until(&until, NORIA_POSIX_CLOCK, queue->check_ns);
    while (!queue->closing
           && pthread_cond_timedwait(&queue->changed, &queue->mutex, &until) != ETIMEDOUT) {}
    if (!queue->closing && noria_posix_told(queue) == queue->seen) {
        for (struct noria_control *each = queue->given.first; each; each = each->next) {
            queue->counts[NORIA_AIO_ERROR]++;
            if (aio_error(&each->aiocb) == EINPROGRESS) continue;
            if (each->late++ == 1) queue->counts[NORIA_FOUND]++;
            if (each->late > 1) found = 1;
        }
    }
    if (found) {
        queue->missed = 1;
        noria_post_ring(queue->bell);
    }
    pthread_mutex_unlock(&queue->mutex);
}

static inline void *noria_posix_help(void *argument) {
    struct noria_posix *queue = argument;
    while (!__atomic_load_n(&queue->closing, __ATOMIC_SEQ_CST)) {
        if (queue->mode != NORIA_TOLD_BY_SUSPEND) noria_posix_check(queue);
        else if (noria_posix_attend(queue) > 0) noria_post_ring(queue->bell);
    }
    return NULL;
}

/* Start the helper, with all signals blocked: they are the loop's. */
static inline int noria_posix_start(struct noria_posix *queue) {
    pthread_attr_t attributes;
    sigset_t all, before;
    int failure;
    if (queue->helping) return 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, queue->stack_bytes);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failure = pthread_create(&queue->helper, &attributes, noria_posix_help, queue);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!failure) queue->helping = 1;
    return failure;
}

/* -- the queue ------------------------------------------------------------------------------ */

/* Whether there can be a queue: 0, ENOSYS, or EPERM in a child of a process whose library has
 * threads for it, which are not there after fork(2). */
static inline int noria_posix_usable(void) {
#ifdef __GLIBC__
    if (noria_posix_user && noria_posix_user != getpid()) return EPERM;
#endif
    return NORIA_HAS_AIO ? 0 : ENOSYS;
}

static inline int noria_posix_knows(int mode) {
#if defined(SIGEV_THREAD) && !defined(__APPLE__)
    if (mode == NORIA_TOLD_BY_THREAD) return NORIA_HAS_AIO;
#endif
#if defined(SIGRTMIN) && !defined(__APPLE__)
    if (mode == NORIA_TOLD_BY_SIGNAL) return NORIA_HAS_AIO;
#endif
    return mode == NORIA_TOLD_BY_SUSPEND && NORIA_HAS_AIO;
}

static inline int noria_posix_pipe(struct noria_posix *queue) {
    int ends[2];
    if (pipe(ends) < 0) return errno;
    for (int each = 0; each < 2; each++) {
        fcntl(ends[each], F_SETFD, FD_CLOEXEC);
        fcntl(ends[each], F_SETFL, fcntl(ends[each], F_GETFL) | O_NONBLOCK);
    }
    queue->pipe_read = ends[0];
    queue->pipe_write = ends[1];
    return 0;
}

/* Stop being told: nothing touches bell and pipe any more. */
static inline void noria_posix_leave(struct noria_posix *queue) {
    int over = !queue->given.count && noria_signal_over(queue);
    noria_signal_leave(queue, over);
    noria_post_close(queue->post);
    queue->post = queue->bell = -1;
    if (queue->pipe_read >= 0) {
        close(queue->pipe_read);
        close(queue->pipe_write);
        queue->pipe_read = queue->pipe_write = -1;
    }
}

static inline void noria_posix_free(struct noria_posix *queue) {
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->mutex);
    free(queue->numbers);
    free(queue->awaited);
    free(queue->free_numbers);
    free(queue);
}

/* Make a queue; 0 or an errno. */
static inline int noria_posix_make(struct noria_posix **made, int mode, int bell,
                                   int outstanding_max, long long check_ns,
                                   long long suspend_ns, size_t stack_bytes) {
    struct noria_posix *queue = calloc(1, sizeof *queue);
    pthread_condattr_t attributes;
    long most = -1;
    int failure = queue ? noria_posix_usable() : ENOMEM;
    if (!queue) return failure;
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_condattr_init(&attributes);
#ifdef __linux__
    pthread_condattr_setclock(&attributes, NORIA_POSIX_CLOCK);
#endif
    pthread_cond_init(&queue->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    queue->mode = mode;
    queue->bell = bell;
    queue->post = queue->pipe_read = queue->pipe_write = -1;
    queue->outstanding_max = outstanding_max;
    queue->check_ns = check_ns;
    queue->suspend_ns = suspend_ns;
    queue->stack_bytes = stack_bytes;
#ifdef _SC_AIO_LISTIO_MAX
    most = sysconf(_SC_AIO_LISTIO_MAX);
#endif
    queue->list_max = most > 0 && most < NORIA_LIST_MOST ? (int)most : NORIA_LIST_MOST;
    queue->numbers = calloc(outstanding_max, sizeof *queue->numbers);
    queue->awaited = calloc(outstanding_max, sizeof *queue->awaited);
    queue->free_numbers = calloc(outstanding_max, sizeof *queue->free_numbers);
    if (!queue->numbers || !queue->awaited || !queue->free_numbers) failure = ENOMEM;
    else for (int each = outstanding_max; each--;) queue->free_numbers[queue->free_count++] = each;
    if (!failure && !noria_posix_knows(mode)) failure = ENOTSUP;
    if (!failure && bell < 0 && mode != NORIA_TOLD_BY_SUSPEND) failure = ENOTSUP;
    if (!failure && mode == NORIA_TOLD_BY_SIGNAL) failure = noria_posix_pipe(queue);
    if (!failure && mode != NORIA_TOLD_BY_SUSPEND) {
        queue->post = noria_post_open(bell, queue->pipe_write);
        if (queue->post < 0) failure = EAGAIN;
    }
    if (!failure && mode == NORIA_TOLD_BY_SIGNAL) failure = noria_signal_take(queue);
    if (failure) {
        noria_posix_leave(queue);
        noria_posix_free(queue);
        return failure;
    }
    *made = queue;
    return 0;
}

static inline int noria_posix_submit(struct noria_posix *queue, struct noria_control *control) {
    if (queue->closing) return -EBADF;
    pthread_mutex_lock(&queue->mutex);
    if (!queue->free_count) {
        pthread_mutex_unlock(&queue->mutex);
        return -EAGAIN;
    }
    control->number = queue->free_numbers[--queue->free_count];
    control->state = NORIA_CONTROL_GATHERED;
    queue->numbers[control->number] = control;
    noria_control_append(&queue->gathered, control);
    pthread_mutex_unlock(&queue->mutex);
    return 0;
}

static inline void noria_posix_describe(struct noria_posix *queue, struct noria_control *control) {
    struct sigevent *event = &control->aiocb.aio_sigevent;
    memset(event, 0, sizeof *event);
    event->sigev_notify = SIGEV_NONE;
#if defined(SIGEV_THREAD) && !defined(__APPLE__)
    if (queue->mode == NORIA_TOLD_BY_THREAD) {
        event->sigev_notify = SIGEV_THREAD;
        event->sigev_notify_function = noria_told_in_thread;
        event->sigev_value.sival_int
            = (int)(noria_posts[queue->post].generation * NORIA_POSTS + (unsigned)queue->post);
    }
#endif
    if (queue->mode == NORIA_TOLD_BY_SIGNAL) {
        event->sigev_notify = SIGEV_SIGNAL;
        event->sigev_signo = queue->signal;
        event->sigev_value.sival_int = control->number;
    }
}

/* The mutex is held, as it is when anything is told to the helper. */
static inline void noria_control_give(struct noria_posix *queue, struct noria_control *control) {
    control->state = NORIA_CONTROL_GIVEN;
    control->late = 0;
    queue->begun++;
    noria_control_append(&queue->given, control);
    if (queue->given.count == 1) pthread_cond_signal(&queue->changed);
}

static inline void noria_posix_begin_one(struct noria_posix *queue, struct noria_control *control) {
    struct aiocb *aiocb = &control->aiocb;
    int which, result;
    if (control->sync) {
        which = NORIA_AIO_FSYNC;
        result = aio_fsync(control->sync, aiocb);
    } else if (aiocb->aio_lio_opcode == LIO_READ) {
        which = NORIA_AIO_READ;
        result = aio_read(aiocb);
    } else {
        which = NORIA_AIO_WRITE;
        result = aio_write(aiocb);
    }
    queue->counts[which]++;
    if (result == 0) noria_control_give(queue, control);
    else noria_control_end(queue, control, -errno, 1);
}

/* Begin several by one call. Of those of a call that failed some may run, some may have ended, and
 * some were never looked at, which have the result 0 of a fresh structure: those are for others,
 * for whom doing it again is the same. */
static inline void noria_posix_begin_list(struct noria_posix *queue,
                                          struct noria_control **controls, int count) {
    struct aiocb *list[NORIA_LIST_MOST];
    int result, failure;
    for (int each = 0; each < count; each++) list[each] = &controls[each]->aiocb;
    queue->counts[NORIA_LIO_LISTIO]++;
    result = lio_listio(LIO_NOWAIT, list, count, NULL);
    failure = errno;
    for (int each = 0; each < count; each++) {
        int error = result == 0 ? EINPROGRESS : aio_error(list[each]);
        if (error == EINPROGRESS) {
            queue->counts[NORIA_LISTED]++;
            noria_control_give(queue, controls[each]);
        } else {
            ssize_t moved = error == 0 ? aio_return(list[each]) : 0;
            if (moved > 0) noria_control_end(queue, controls[each], moved, 0);
            else noria_control_end(queue, controls[each], error > 0 ? -error : -failure, 1);
        }
    }
}

static inline void noria_posix_hand_over(struct noria_posix *queue) {
    struct noria_control *batch[NORIA_LIST_MOST], *each;
    int count, startable = 1;
    if (!queue->gathered.count) return;
    noria_posix_user = getpid();
    /* Without a bell the helper is somebody else's. */
    if (queue->bell >= 0) startable = noria_posix_start(queue) == 0;
    pthread_mutex_lock(&queue->mutex);
    while ((each = queue->gathered.first)) {
        for (count = 0; each && count < queue->list_max; each = queue->gathered.first) {
            noria_control_remove(&queue->gathered, each);
            noria_posix_describe(queue, each);
            if (!startable) noria_control_end(queue, each, -EAGAIN, 1);
            else if (each->sync) noria_posix_begin_one(queue, each);
            else batch[count++] = each;
        }
        if (count == 1) noria_posix_begin_one(queue, batch[0]);
        else if (count) noria_posix_begin_list(queue, batch, count);
    }
    pthread_mutex_unlock(&queue->mutex);
}

static inline int noria_posix_ready(struct noria_posix *queue) {
    int ready;
    pthread_mutex_lock(&queue->mutex);
    ready = queue->ended.count || queue->missed || noria_posix_told(queue) != queue->seen;
    pthread_mutex_unlock(&queue->mutex);
    return ready;
}

/* Look at those whose numbers came by the pipe. */
static inline void noria_posix_read_numbers(struct noria_posix *queue) {
    int32_t numbers[64];
    ssize_t size;
    do {
        size = read(queue->pipe_read, numbers, sizeof numbers);
        for (ssize_t each = 0; each < size / (ssize_t)sizeof *numbers; each++) {
            int32_t number = numbers[each];
            struct noria_control *control
                = number >= 0 && number < queue->outstanding_max ? queue->numbers[number] : NULL;
            if (control && control->state == NORIA_CONTROL_GIVEN)
                noria_control_take(queue, control);
        }
    } while (size == (ssize_t)sizeof numbers);
}

static inline struct noria_control *noria_posix_reap(struct noria_posix *queue, int most) {
    struct noria_control *first, *last;
    long long told;
    pthread_mutex_lock(&queue->mutex);
    told = noria_posix_told(queue);
    if (queue->closing || queue->missed
        || (told != queue->seen && queue->mode == NORIA_TOLD_BY_THREAD)) {
        if (queue->closing || queue->mode != NORIA_TOLD_BY_SUSPEND) noria_posix_scan(queue);
    }
    if (told != queue->seen && queue->pipe_read >= 0) noria_posix_read_numbers(queue);
    queue->seen = told;
    queue->missed = 0;
    first = queue->ended.first;
    if (queue->ended.count <= most) {
        memset(&queue->ended, 0, sizeof queue->ended);
    } else {
        queue->ended.count -= most;
        for (last = first; --most; last = last->next) {}
        queue->ended.first = last->next;
        queue->ended.first->before = NULL;
        last->next = NULL;
    }
    pthread_mutex_unlock(&queue->mutex);
    return first;
}

/* 1 if the request has ended by this. */
static inline int noria_posix_cancel(struct noria_posix *queue, struct noria_control *control) {
    int cancelled = 0;
    pthread_mutex_lock(&queue->mutex);
    if (control->state == NORIA_CONTROL_GATHERED) {
        noria_control_remove(&queue->gathered, control);
        noria_control_end(queue, control, -ECANCELED, 0);
        cancelled = 1;
    } else if (control->state == NORIA_CONTROL_GIVEN) {
        queue->counts[NORIA_AIO_CANCEL_CALL]++;
        cancelled = aio_cancel(control->aiocb.aio_fildes, &control->aiocb) == AIO_CANCELED;
        /* It is told like any other end; where the helper takes, nobody else may. */
        if (cancelled && (queue->closing || queue->mode != NORIA_TOLD_BY_SUSPEND))
            noria_control_take(queue, control);
    }
    pthread_mutex_unlock(&queue->mutex);
    return cancelled;
}

/* End the helper; who has another one has told it to end, and waited. */
static inline void noria_posix_stop(struct noria_posix *queue) {
    pthread_mutex_lock(&queue->mutex);
    __atomic_store_n(&queue->closing, 1, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
    if (queue->helping) pthread_join(queue->helper, NULL);
    queue->helping = 0;
}

/* Cancel what can be cancelled, wait for the rest; how many still run. */
static inline int noria_posix_finish(struct noria_posix *queue, long long timeout_ns) {
    struct noria_control *each, *next;
    struct timespec now, until;
    noria_posix_stop(queue);
    while ((each = queue->gathered.first)) noria_posix_cancel(queue, each);
    for (each = queue->given.first; each; each = next) {
        next = each->next;
        noria_posix_cancel(queue, each);
    }
    noria_posix_until(&until, NORIA_POSIX_CLOCK, timeout_ns);
    pthread_mutex_lock(&queue->mutex);
    for (noria_posix_scan(queue); queue->given.count; noria_posix_scan(queue)) {
        long long left;
        clock_gettime(NORIA_POSIX_CLOCK, &now);
        left = (until.tv_sec - now.tv_sec) * 1000000000LL + until.tv_nsec - now.tv_nsec;
        if (left <= 0) break;
        noria_posix_suspend(queue, left);
    }
    pthread_mutex_unlock(&queue->mutex);
    noria_posix_leave(queue);
    return queue->given.count;
}

static inline void noria_control_fill(struct noria_control *control, int fd, void *memory,
                                      size_t size, long long offset, int writes, int sync) {
    memset(control, 0, sizeof *control);
    control->aiocb.aio_fildes = fd;
    control->aiocb.aio_buf = memory;
    control->aiocb.aio_nbytes = size;
    control->aiocb.aio_offset = (off_t)offset;
    control->aiocb.aio_lio_opcode = writes ? LIO_WRITE : LIO_READ;
#ifdef O_DSYNC
    control->sync = sync == 2 ? O_DSYNC : sync ? O_SYNC : 0;
#else
    control->sync = sync ? O_SYNC : 0;
#endif
}

static inline int noria_posix_count(struct noria_posix *queue) {
    int count;
    pthread_mutex_lock(&queue->mutex);
    count = queue->gathered.count + queue->given.count + queue->ended.count;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

static inline long long noria_posix_calls(struct noria_posix *queue, int which) {
    long long count;
    pthread_mutex_lock(&queue->mutex);
    count = which == NORIA_TOLD ? noria_posix_told(queue) : queue->counts[which];
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

#endif
