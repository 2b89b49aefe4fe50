/* Bare servers of datagrams: on epoll with one call per datagram, and with one call for many. A
 * socket is read until it is empty, but for no longer than a batch, so that others get their turn.
 * What the kernel does not take back at once is lost, as datagrams may be. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "native.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    BATCH = 64,
    DATAGRAM_BYTES_MAX = 65536,
    EVENTS_MAX = 64
};

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_storage addresses[BATCH];
    uint8_t bytes[BATCH][DATAGRAM_BYTES_MAX];
};

typedef void (*echoer)(int fd, struct batch *batch);

static void echo_one_by_one(int fd, struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        socklen_t length = sizeof(batch->addresses[0]);
        struct sockaddr *address = (struct sockaddr *)&batch->addresses[0];
        ssize_t count = recvfrom(fd, batch->bytes[0], DATAGRAM_BYTES_MAX, MSG_DONTWAIT, address,
                                 &length);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count >= 0) /* an error that an earlier datagram met is reported once, and gone */
            sendto(fd, batch->bytes[0], (size_t)count, MSG_DONTWAIT, address, length);
    }
}

static void echo_many(int fd, struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        batch->pieces[i].iov_base = batch->bytes[i];
        batch->pieces[i].iov_len = DATAGRAM_BYTES_MAX;
        batch->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->addresses[i], .msg_namelen = sizeof(batch->addresses[i]),
            .msg_iov = &batch->pieces[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(fd, batch->messages, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++)
        batch->pieces[i].iov_len = batch->messages[i].msg_len;
    for (int done = 0; done < count;) {
        int sent = sendmmsg(fd, batch->messages + done, (unsigned)(count - done), MSG_DONTWAIT);
        done += sent > 0 ? sent : 1; /* the first of them failed */
    }
}

static int serve(const int *sockets, size_t socket_count, int stop_fd, echoer echo)
{
    struct epoll_event events[EVENTS_MAX];
    struct batch *batch = calloc(1, sizeof(*batch));
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int result = batch == NULL ? -ENOMEM : epoll_fd < 0 ? -errno : 0;
    for (size_t i = 0; i <= socket_count && result == 0; i++) {
        int fd = i < socket_count ? sockets[i] : stop_fd;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            result = -errno;
    }
    while (result == 0) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            result = -errno;
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == stop_fd)
                result = 1;
            else
                echo(events[i].data.fd, batch);
        }
    }
    if (epoll_fd >= 0)
        close(epoll_fd);
    free(batch);
    return result < 0 ? result : 0;
}

int lab_serve_datagrams(const int *sockets, size_t socket_count, int stop_fd)
{
    return serve(sockets, socket_count, stop_fd, echo_one_by_one);
}

int lab_serve_datagrams_batched(const int *sockets, size_t socket_count, int stop_fd)
{
    return serve(sockets, socket_count, stop_fd, echo_many);
}
#endif
