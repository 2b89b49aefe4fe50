/* Waits that end in time.
 *
 * The kernel may end a wait later than asked, by the slack of the thread or a thousandth of the
 * wait, to serve several timers by one interrupt; and on an idle processor it does. Asking for that
 * much less ends the wait in time; when it does end early, the rest is waited for. */
#ifndef NORIA_PUNCTUAL_H
#define NORIA_PUNCTUAL_H

#include <stdint.h>
#include <sys/prctl.h>
#include <time.h>

#define NORIA_SLACK_MAX_NS 100000000 /* the kernel's own bound (fs/select.c) */

/* The kernel's own layout: two 64-bit numbers on every architecture. */
struct noria_timespec { int64_t seconds; int64_t nanoseconds; };

static inline struct noria_timespec noria_timespec_of(long long timeout_ns)
{
    struct noria_timespec found = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    return found;
}

static inline long long noria_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* prctl(2): the slack of this thread, 50 microseconds unless somebody has changed it. */
static inline long long noria_slack_ns(void)
{
    int slack_ns = prctl(PR_GET_TIMERSLACK);
    return slack_ns < 0 ? 0 : slack_ns;
}

/* By how much a wait has to be asked for shorter; the whole wait if it is that short. */
static inline long long noria_lead_ns(long long timeout_ns, long long slack_ns)
{
    if (timeout_ns / 1000 > slack_ns) slack_ns = timeout_ns / 1000;
    if (slack_ns > NORIA_SLACK_MAX_NS) slack_ns = NORIA_SLACK_MAX_NS;
    return slack_ns;
}

#endif
