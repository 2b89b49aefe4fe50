/* POSIX asynchronous I/O: its declarations, and where notifications of what is done go to. */
#ifndef NORIA_POSIX_TOLD_H
#define NORIA_POSIX_TOLD_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__has_include)
#if __has_include(<aio.h>)
#include <aio.h>
#define NORIA_HAS_AIO 1
#endif
#endif

#ifndef NORIA_HAS_AIO
#define NORIA_HAS_AIO 0
struct aiocb {
    int aio_fildes, aio_lio_opcode;
    volatile void *aio_buf;
    size_t aio_nbytes;
    off_t aio_offset;
    struct sigevent aio_sigevent;
};
enum { LIO_READ, LIO_WRITE, LIO_NOWAIT, AIO_CANCELED };
#define aio_read(control) (errno = ENOSYS, -1)
#define aio_write(control) (errno = ENOSYS, -1)
#define aio_fsync(how, control) (errno = ENOSYS, -1)
#define lio_listio(mode, list, count, event) (errno = ENOSYS, -1)
#define aio_suspend(list, count, timeout) (errno = ENOSYS, -1)
#define aio_cancel(fd, control) (errno = ENOSYS, -1)
#define aio_error(control) (errno = ENOSYS, -1)
#define aio_return(control) (errno = ENOSYS, -1)
#endif

enum { NORIA_TOLD_BY_THREAD, NORIA_TOLD_BY_SIGNAL, NORIA_TOLD_BY_SUSPEND };
enum { NORIA_CONTROL_IDLE, NORIA_CONTROL_GATHERED, NORIA_CONTROL_GIVEN, NORIA_CONTROL_ENDED };
enum {
    NORIA_AIO_READ, NORIA_AIO_WRITE, NORIA_AIO_FSYNC, NORIA_LIO_LISTIO, NORIA_AIO_SUSPEND,
    NORIA_AIO_CANCEL_CALL, NORIA_AIO_ERROR, NORIA_AIO_RETURN, NORIA_LISTED, NORIA_TOLD,
    NORIA_FOUND, NORIA_POSIX_COUNTS
};
#ifdef __linux__
enum { NORIA_POSIX_CLOCK = CLOCK_MONOTONIC };
#else
enum { NORIA_POSIX_CLOCK = CLOCK_REALTIME }; /* conditions elsewhere know no other */
#endif
enum { NORIA_LIST_MOST = 256, NORIA_POSTS = 256, NORIA_SIGNALS = 128, NORIA_OVER_MS = 100 };

struct noria_control {
    struct aiocb aiocb;
    struct noria_control *next, *before;
    void *owner;
    long long result;
    int state, refused, number, late, sync;
};

struct noria_controls { struct noria_control *first, *last; int count; };

struct noria_posix {
    pthread_mutex_t mutex; /* of the lists, counts of the helper and what it is told */
    pthread_cond_t changed;
    pthread_t helper;
    struct noria_controls gathered, given, ended;
    struct noria_control **numbers;
    const struct aiocb **awaited; /* the helper's list */
    int *free_numbers;
    int free_count, outstanding_max, list_max;
    int mode, post, signal, bell, pipe_read, pipe_write;
    int helping, closing, missed;
    long long check_ns, suspend_ns, seen, begun;
    size_t stack_bytes;
    struct sigaction before;
    long long counts[NORIA_POSIX_COUNTS];
};

/* -- where notifications go: by number, as a thread may start when the queue is gone -------- */

struct noria_post { int used, bell, pipe; unsigned generation; long long told; };
static struct noria_post noria_posts[NORIA_POSTS];
static pthread_mutex_t noria_posts_mutex = PTHREAD_MUTEX_INITIALIZER;
static int noria_post_of[NORIA_SIGNALS]; /* by signal, plus one */
static int noria_handling[NORIA_SIGNALS];
static pid_t noria_posix_user; /* the process whose library has threads for it */

static inline void noria_post_ring(int bell) {
    uint64_t one = 1; /* what an eventfd takes */
    ssize_t written = bell < 0 ? 0 : write(bell, &one, sizeof one);
    (void)written; /* a bell that is full rings */
}

/* SIGEV_THREAD: the low byte is the post, the rest tells its life from the next one. */
static inline void noria_told_in_thread(union sigval value) {
    unsigned which = (unsigned)value.sival_int;
    struct noria_post *post = &noria_posts[which % NORIA_POSTS];
    pthread_mutex_lock(&noria_posts_mutex);
    if (post->used && post->generation == which / NORIA_POSTS) {
        __atomic_add_fetch(&post->told, 1, __ATOMIC_SEQ_CST);
        noria_post_ring(post->bell);
    }
    pthread_mutex_unlock(&noria_posts_mutex);
}

/* SIGEV_SIGNAL: only what a signal handler may do (signal-safety(7)). */
static inline void noria_told_by_signal(int number, siginfo_t *info, void *context) {
    int failure = errno, which;
    (void)context;
    __atomic_add_fetch(&noria_handling[number], 1, __ATOMIC_SEQ_CST);
    which = __atomic_load_n(&noria_post_of[number], __ATOMIC_SEQ_CST) - 1;
    if (which >= 0 && info->si_code == SI_ASYNCIO) {
        struct noria_post *post = &noria_posts[which];
        int32_t request = (int32_t)info->si_value.sival_int;
        ssize_t written = write(post->pipe, &request, sizeof request);
        (void)written; /* full: the bell rings all the same, and the helper asks */
        __atomic_add_fetch(&post->told, 1, __ATOMIC_SEQ_CST);
        noria_post_ring(post->bell);
    }
    __atomic_sub_fetch(&noria_handling[number], 1, __ATOMIC_SEQ_CST);
    errno = failure;
}

static inline int noria_post_open(int bell, int pipe) {
    int found = -1;
    pthread_mutex_lock(&noria_posts_mutex);
    for (int each = 0; each < NORIA_POSTS && found < 0; each++) {
        if (noria_posts[each].used) continue;
        found = each;
        noria_posts[each].used = 1;
        noria_posts[each].bell = bell;
        noria_posts[each].pipe = pipe;
        noria_posts[each].told = 0;
        noria_posts[each].generation = (noria_posts[each].generation + 1) % 0x7fffff;
    }
    pthread_mutex_unlock(&noria_posts_mutex);
    return found;
}

static inline void noria_post_close(int post) {
    if (post < 0) return;
    pthread_mutex_lock(&noria_posts_mutex);
    noria_posts[post].used = 0;
    noria_posts[post].bell = noria_posts[post].pipe = -1;
    pthread_mutex_unlock(&noria_posts_mutex);
}

/* -- the signal ----------------------------------------------------------------------------- */

/* A real-time signal that nobody handles and the calling thread does not block, 0 for none. */
static inline int noria_free_signal(void) {
#ifdef SIGRTMIN
    sigset_t blocked;
    struct sigaction action;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
        if (number >= NORIA_SIGNALS || sigismember(&blocked, number)) continue;
        if (sigaction(number, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO)
            && action.sa_handler == SIG_DFL)
            return number;
    }
#endif
    return 0;
}

static inline int noria_signal_take(struct noria_posix *queue) {
    struct sigaction action;
    queue->signal = noria_free_signal();
    if (!queue->signal) return EAGAIN;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = noria_told_by_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    __atomic_store_n(&noria_post_of[queue->signal], queue->post + 1, __ATOMIC_SEQ_CST);
    if (sigaction(queue->signal, &action, &queue->before) == 0) return 0;
    noria_post_of[queue->signal] = 0;
    queue->signal = 0;
    return errno;
}

/* Whether no signal for a request that has ended can still be sent. */
static inline int noria_signal_over(struct noria_posix *queue) {
#ifndef __GLIBC__
    struct timespec moment = {0, 1000000};
    if (!queue->signal) return 1;
    if (queue->post < 0) return 0; /* what was told is not known any more */
    for (int turn = 0; turn < NORIA_OVER_MS; turn++) {
        if (__atomic_load_n(&noria_posts[queue->post].told, __ATOMIC_SEQ_CST) >= queue->begun)
            return 1;
        nanosleep(&moment, NULL);
    }
    return 0;
#else
    (void)queue;
    return 1;
#endif
}

/* Let go of pipe and bell. What was sent and not delivered is dropped by SIG_IGN (POSIX); what
 * may still be sent would end the process by default, so then it stays ignored. */
static inline void noria_signal_leave(struct noria_posix *queue, int over) {
    struct sigaction now, ignore;
    struct timespec moment = {0, 100000};
    int number = queue->signal;
    if (!number || sigaction(number, NULL, &now) < 0) return;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    if (now.sa_flags & SA_SIGINFO ? now.sa_sigaction == noria_told_by_signal
                                  : now.sa_handler == SIG_IGN) {
        sigaction(number, &ignore, NULL);
        if (over) sigaction(number, &queue->before, NULL);
    } /* else somebody else has it now */
    __atomic_store_n(&noria_post_of[number], 0, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&noria_handling[number], __ATOMIC_SEQ_CST)) nanosleep(&moment, NULL);
    if (over) queue->signal = 0;
}

#endif
