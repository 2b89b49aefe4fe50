/* A bare epoll echo server: the limit that servers with an interpreter are measured against.
 * Level-triggered, one hot buffer, one recv and one send per small echo, no allocation for it. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "native.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    HOT_BYTES = 256 * 1024,
    HOT_ALIGNMENT = 4096, /* kernel copies into a page-aligned buffer are the fastest */
    ACCEPTS_PER_TURN = 64,
    FULL_WAIT_MS = 10     /* how long a server without free descriptors waits to accept again */
};

/* One descriptor: what its client was too slow to take. It is read from again when that is gone. */
struct peer {
    int open;
    uint8_t *bytes;
    size_t begin;
    size_t end;
};

struct server {
    int epoll_fd;
    int stop_fd;
    const int *listeners;
    size_t listener_count;
    int full;                   /* out of descriptors: listeners are not watched */
    struct peer *peers; /* by descriptor */
    size_t descriptors_max;
    uint8_t *hot;
};

static int watch(struct server *server, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)fd};
    return epoll_ctl(server->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

static void watch_listeners(struct server *server, int wanted)
{
    for (size_t i = 0; i < server->listener_count; i++)
        watch(server, EPOLL_CTL_MOD, server->listeners[i], wanted ? EPOLLIN : 0);
    server->full = !wanted;
}

static void drop(struct server *server, int fd)
{
    free(server->peers[fd].bytes);
    memset(&server->peers[fd], 0, sizeof(server->peers[fd]));
    close(fd);
}

static void accept_some(struct server *server, int listener)
{
    int one = 1;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                watch_listeners(server, 0);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on Unix: no matter */
        if ((size_t)fd >= server->descriptors_max || watch(server, EPOLL_CTL_ADD, fd, EPOLLIN) < 0)
            close(fd);
        else
            server->peers[fd].open = 1;
    }
}

/* Keeps what the kernel would not take, and waits for room, not for bytes. 0, or minus errno. */
static int keep(struct server *server, int fd, const uint8_t *bytes, size_t count)
{
    struct peer *peer = &server->peers[fd];
    peer->bytes = malloc(count);
    if (peer->bytes == NULL)
        return -ENOMEM;
    memcpy(peer->bytes, bytes, count);
    peer->begin = 0;
    peer->end = count;
    return watch(server, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void echo(struct server *server, int fd)
{
    ssize_t count = recv(fd, server->hot, HOT_BYTES, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        drop(server, fd);
        return;
    }
    ssize_t sent = send(fd, server->hot, (size_t)count, MSG_NOSIGNAL);
    if (sent == count)
        return;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        drop(server, fd);
        return;
    }
    if (sent < 0)
        sent = 0;
    if (keep(server, fd, server->hot + sent, (size_t)(count - sent)) < 0)
        drop(server, fd);
}

static void flush(struct server *server, int fd)
{
    struct peer *peer = &server->peers[fd];
    ssize_t sent = send(fd, peer->bytes + peer->begin, peer->end - peer->begin,
                        MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent < 0) {
        drop(server, fd);
        return;
    }
    peer->begin += (size_t)sent;
    if (peer->begin < peer->end)
        return;
    free(peer->bytes);
    peer->bytes = NULL;
    if (watch(server, EPOLL_CTL_MOD, fd, EPOLLIN) < 0)
        drop(server, fd);
}

static int is_listener(const struct server *server, int fd)
{
    for (size_t i = 0; i < server->listener_count; i++)
        if (server->listeners[i] == fd)
            return 1;
    return 0;
}

static int serve(struct server *server)
{
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int wait_ms = server->full ? FULL_WAIT_MS : -1;
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, wait_ms);
        if (count < 0 && errno != EINTR)
            return -errno;
        if (server->full)
            watch_listeners(server, 1);
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u64;
            if (fd == server->stop_fd)
                return 0;
            if (is_listener(server, fd))
                accept_some(server, fd);
            else if (server->peers[fd].bytes)
                flush(server, fd);
            else
                echo(server, fd);
        }
    }
}

int lab_serve(const int *listeners, size_t listener_count, int stop_fd)
{
    struct server server = {.stop_fd = stop_fd, .listeners = listeners,
                            .listener_count = listener_count};
    struct rlimit limit = {0};
    void *hot = NULL;
    int result = 0;
    getrlimit(RLIMIT_NOFILE, &limit);
    server.descriptors_max = limit.rlim_cur > (1u << 20) ? 1u << 20 : (size_t)limit.rlim_cur;
    server.peers = calloc(server.descriptors_max, sizeof(*server.peers));
    if (server.peers == NULL || posix_memalign(&hot, HOT_ALIGNMENT, HOT_BYTES) != 0) {
        free(server.peers);
        return -ENOMEM;
    }
    memset(hot, 0, HOT_BYTES);
    server.hot = hot;
    server.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll_fd < 0)
        result = -errno;
    if (result == 0)
        result = watch(&server, EPOLL_CTL_ADD, stop_fd, EPOLLIN);
    for (size_t i = 0; i < listener_count && result == 0; i++)
        result = watch(&server, EPOLL_CTL_ADD, listeners[i], EPOLLIN);
    if (result == 0)
        result = serve(&server);
    for (size_t fd = 0; fd < server.descriptors_max; fd++)
        if (server.peers[fd].open)
            drop(&server, (int)fd);
    if (server.epoll_fd >= 0)
        close(server.epoll_fd);
    free(server.peers);
    free(hot);
    return result;
}
#endif
