/* A bare epoll echo server over TLS 1.3: the limit of what OpenSSL and the kernel allow. It reads a
 * record and writes it back. OpenSSL keeps its buffers, which costs memory and saves time. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "native.h"
#include "openssl.h"

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
    HOT_BYTES = 16384, /* one record */
    ACCEPTS_PER_TURN = 64
};

/* One descriptor. What its client was too slow to take waits; nothing is read until it is gone. */
struct peer {
    void *tls;
    uint8_t *bytes;
    size_t begin;
    size_t end;
    uint8_t shaken; /* the handshake is through */
};

struct server {
    int epoll_fd;
    int stop_fd;
    void *context;
    struct peer *peers; /* by descriptor */
    size_t descriptors_max;
    uint8_t hot[HOT_BYTES];
};

static int watch(struct server *server, int operation, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(server->epoll_fd, operation, fd, &event) < 0 ? -errno : 0;
}

static void drop(struct server *server, int fd)
{
    struct peer *peer = &server->peers[fd];
    free(peer->bytes);
    lab_tls_free(peer->tls);
    memset(peer, 0, sizeof(*peer));
    close(fd);
}

static void accept_some(struct server *server, int listener)
{
    int one = 1;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on Unix: no matter */
        void *tls = (size_t)fd < server->descriptors_max ? lab_tls_accept(server->context, fd)
                                                         : NULL;
        if (tls && watch(server, EPOLL_CTL_ADD, fd, EPOLLIN) == 0) {
            server->peers[fd].tls = tls;
            continue;
        }
        if (tls)
            lab_tls_free(tls);
        close(fd);
    }
}

/* Keeps what the socket would not take, and waits for room, not for bytes. 0, or minus errno. */
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

/* 1: all is written; 0: the rest is kept; -1: the connection has failed. */
static int put(struct server *server, int fd, const uint8_t *bytes, size_t count)
{
    while (count) {
        ssize_t sent = lab_tls_write(server->peers[fd].tls, bytes, count);
        if (sent < 0)
            return errno == EAGAIN ? keep(server, fd, bytes, count) : -1;
        bytes += sent;
        count -= (size_t)sent;
    }
    return 1;
}

static void echo(struct server *server, int fd)
{
    struct peer *peer = &server->peers[fd];
    for (;;) {
        ssize_t count = lab_tls_read(peer->tls, server->hot, HOT_BYTES);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            if (count == 0)
                lab_tls_say_goodbye(peer->tls);
            drop(server, fd);
            return;
        }
        int done = put(server, fd, server->hot, (size_t)count);
        if (done < 0)
            drop(server, fd);
        /* What the socket still has, epoll tells; what OpenSSL has, it does not. */
        if (done <= 0 || (count < HOT_BYTES && !lab_tls_pending(peer->tls)))
            return;
    }
}

static void flush(struct server *server, int fd)
{
    struct peer *peer = &server->peers[fd];
    while (peer->begin < peer->end) {
        ssize_t sent = lab_tls_write(peer->tls, peer->bytes + peer->begin, peer->end - peer->begin);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0) {
            drop(server, fd);
            return;
        }
        peer->begin += (size_t)sent;
    }
    free(peer->bytes);
    peer->bytes = NULL;
    if (watch(server, EPOLL_CTL_MOD, fd, EPOLLIN) < 0)
        drop(server, fd);
    else
        echo(server, fd); /* OpenSSL may hold bytes that came before */
}

static void shake_hands(struct server *server, int fd)
{
    struct peer *peer = &server->peers[fd];
    if (lab_tls_handshake(peer->tls) < 0) {
        if (errno != EAGAIN)
            drop(server, fd);
        return;
    }
    peer->shaken = 1;
    echo(server, fd);
}

static int serve(struct server *server, const int *listeners, size_t listener_count)
{
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd, listening = 0;
            struct peer *peer = &server->peers[fd];
            if (fd == server->stop_fd)
                return 0;
            for (size_t at = 0; at < listener_count; at++)
                listening |= listeners[at] == fd;
            if (listening)
                accept_some(server, fd);
            else if (!peer->shaken)
                shake_hands(server, fd);
            else if (peer->bytes)
                flush(server, fd);
            else
                echo(server, fd);
        }
    }
}

int lab_serve_tls(const int *listeners, size_t listener_count, int stop_fd)
{
    struct server *server = calloc(1, sizeof(*server));
    struct rlimit limit = {0};
    int result = 0;
    if (server == NULL)
        return -ENOMEM;
    getrlimit(RLIMIT_NOFILE, &limit);
    server->descriptors_max = limit.rlim_cur > (1u << 20) ? 1u << 20 : (size_t)limit.rlim_cur;
    server->stop_fd = stop_fd;
    server->peers = calloc(server->descriptors_max, sizeof(*server->peers));
    server->context = lab_tls_server_context();
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->peers == NULL || server->context == NULL)
        result = -ENOMEM;
    else if (server->epoll_fd < 0)
        result = -errno;
    if (result == 0)
        result = watch(server, EPOLL_CTL_ADD, stop_fd, EPOLLIN);
    for (size_t i = 0; i < listener_count && result == 0; i++)
        result = watch(server, EPOLL_CTL_ADD, listeners[i], EPOLLIN);
    if (result == 0)
        result = serve(server, listeners, listener_count);
    for (size_t fd = 0; server->peers && fd < server->descriptors_max; fd++)
        if (server->peers[fd].tls)
            drop(server, (int)fd);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->context)
        lab_tls_context_free(server->context);
    free(server->peers);
    free(server);
    return result;
}
#endif
