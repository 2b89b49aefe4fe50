/* A bare io_uring echo server: the limit of what a ring can do for small messages. Multishot accept
 * and receive, provided buffers that are sent from and returned then, one call per turn. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "native.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "noria/native/ring.h"

enum {
    ENTRIES = 1024,
    COMPLETIONS = 16384,
    BUFFERS = 16384, /* more than connections that a lab measures have messages under way */
    BUFFER_BYTES = 4096,
    GROUP = 1,
    NONE = -1
};

enum { KIND_ACCEPT = 1, KIND_RECEIVE, KIND_SEND, KIND_STOP };

/* One descriptor: the buffers that wait to be sent, in order; the first is being sent. */
struct echo {
    int32_t first, last;
    uint8_t open, receiving, ended;
};

/* One buffer: what of it is to be sent, and which follows. */
struct piece {
    int32_t next;
    uint16_t begin, end;
};

struct ring_server {
    struct noria_ring ring;
    struct noria_group group;
    struct echo *echoes; /* by descriptor */
    size_t descriptors_max;
    struct piece pieces[BUFFERS];
    int32_t *starved; /* descriptors whose receive found no buffer */
    size_t starved_count;
};

static struct noria_sqe *entry_for(struct ring_server *server, int kind, int fd)
{
    struct noria_sqe *entry;
    while ((entry = noria_ring_entry(&server->ring)) == NULL)
        noria_ring_call(&server->ring, 0, 0);
    entry->fd = fd;
    entry->user_data = (uint64_t)(uint32_t)fd << 8 | (uint64_t)kind;
    return entry;
}

static void begin_accept(struct ring_server *server, int listener)
{
    struct noria_sqe *entry = entry_for(server, KIND_ACCEPT, listener);
    entry->opcode = NORIA_OP_ACCEPT;
    entry->ioprio = NORIA_ACCEPT_MULTISHOT;
    entry->op_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
}

static void begin_receive(struct ring_server *server, int fd)
{
    struct noria_sqe *entry = entry_for(server, KIND_RECEIVE, fd);
    entry->opcode = NORIA_OP_RECV;
    entry->ioprio = NORIA_RECV_MULTISHOT;
    entry->flags = NORIA_SQE_BUFFER_SELECT;
    entry->buf_group = GROUP;
    server->echoes[fd].receiving = 1;
}

static void begin_send(struct ring_server *server, int fd)
{
    struct piece *piece = &server->pieces[server->echoes[fd].first];
    struct noria_sqe *entry = entry_for(server, KIND_SEND, fd);
    const char *memory = server->group.memory +
                         (size_t)server->echoes[fd].first * BUFFER_BYTES + piece->begin;
    entry->opcode = NORIA_OP_SEND;
    entry->addr = (uint64_t)(uintptr_t)memory;
    entry->len = (uint32_t)(piece->end - piece->begin);
    entry->op_flags = MSG_NOSIGNAL;
}

static void return_buffer(struct ring_server *server, int32_t buffer)
{
    noria_group_add(&server->group, (uint32_t)buffer);
    noria_group_publish(&server->group);
    if (server->starved_count)
        begin_receive(server, server->starved[--server->starved_count]);
}

static void close_if_done(struct ring_server *server, int fd)
{
    struct echo *echo = &server->echoes[fd];
    if (!echo->ended || echo->receiving || echo->first != NONE)
        return;
    close(fd);
    echo->open = 0;
}

static void on_accepted(struct ring_server *server, int listener, int fd, int more)
{
    int one = 1;
    if (!more)
        begin_accept(server, listener);
    if (fd < 0)
        return;
    if ((size_t)fd >= server->descriptors_max) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on Unix: no matter */
    server->echoes[fd] = (struct echo){.first = NONE, .last = NONE, .open = 1};
    begin_receive(server, fd);
}

static void on_received(struct ring_server *server, int fd, int result, uint32_t flags)
{
    struct echo *echo = &server->echoes[fd];
    if (!(flags & NORIA_CQE_MORE))
        echo->receiving = 0;
    if (result > 0) {
        int32_t buffer = (int32_t)(flags >> NORIA_CQE_BUFFER_SHIFT);
        server->pieces[buffer] = (struct piece){.next = NONE, .end = (uint16_t)result};
        if (echo->first == NONE) {
            echo->first = echo->last = buffer;
            begin_send(server, fd);
        } else {
            server->pieces[echo->last].next = buffer;
            echo->last = buffer;
        }
        if (!echo->receiving)
            begin_receive(server, fd);
    } else if (result == -ENOBUFS) {
        server->starved[server->starved_count++] = fd;
        echo->receiving = 1;
    } else {
        echo->ended = 1;
        close_if_done(server, fd);
    }
}

static void on_sent(struct ring_server *server, int fd, int result)
{
    struct echo *echo = &server->echoes[fd];
    struct piece *piece = &server->pieces[echo->first];
    if (result > 0 && piece->begin + result < piece->end) {
        piece->begin = (uint16_t)(piece->begin + result);
        begin_send(server, fd);
        return;
    }
    do { /* after a failure nothing of this connection is sent any more */
        int32_t buffer = echo->first;
        echo->first = server->pieces[buffer].next;
        return_buffer(server, buffer);
    } while (result <= 0 && echo->first != NONE);
    if (echo->first != NONE)
        begin_send(server, fd);
    else if (result <= 0)
        shutdown(fd, SHUT_RD); /* ends the receive */
    close_if_done(server, fd);
}

/* 0 to go on, 1 to stop, or minus errno. */
static int turn(struct ring_server *server)
{
    struct noria_ring *ring = &server->ring;
    uint32_t head;
    int result = noria_ring_enter(ring, -1, 0);
    if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN)
        return result;
    for (head = *ring->cq_head; head != noria_load(ring->cq_tail); head++) {
        struct noria_cqe completion = ring->cqes[head & ring->cq_mask];
        int fd = (int)(uint32_t)(completion.user_data >> 8);
        int kind = (int)(completion.user_data & 0xff);
        noria_store(ring->cq_head, head + 1);
        if (kind == KIND_STOP)
            return 1;
        if (kind == KIND_ACCEPT)
            on_accepted(server, fd, completion.res, (completion.flags & NORIA_CQE_MORE) != 0);
        else if (kind == KIND_RECEIVE)
            on_received(server, fd, completion.res, completion.flags);
        else
            on_sent(server, fd, completion.res);
    }
    return 0;
}

static int prepare(struct ring_server *server, const int *listeners, size_t count, int stop_fd)
{
    struct noria_sqe *entry;
    int result = noria_ring_create(&server->ring, ENTRIES, COMPLETIONS);
    if (result < 0)
        return result;
    result = noria_group_create(&server->group, server->ring.fd, GROUP, BUFFERS, BUFFER_BYTES);
    if (result < 0)
        return result;
    result = (int)noria_register(server->ring.fd, NORIA_REGISTER_ENABLE_RINGS, NULL, 0);
    if (result < 0)
        return result;
    for (uint32_t buffer = 0; buffer < BUFFERS; buffer++)
        noria_group_add(&server->group, buffer);
    noria_group_publish(&server->group);
    for (size_t i = 0; i < count; i++)
        begin_accept(server, listeners[i]);
    entry = entry_for(server, KIND_STOP, stop_fd);
    entry->opcode = NORIA_OP_POLL_ADD;
    entry->op_flags = POLLIN | POLLHUP;
    return 0;
}

int lab_serve_ring(const int *listeners, size_t listener_count, int stop_fd)
{
    struct rlimit limit = {0};
    struct ring_server *server = calloc(1, sizeof(*server));
    int result;
    if (server == NULL)
        return -ENOMEM;
    getrlimit(RLIMIT_NOFILE, &limit);
    server->descriptors_max = limit.rlim_cur > (1u << 20) ? 1u << 20 : (size_t)limit.rlim_cur;
    server->echoes = calloc(server->descriptors_max, sizeof(*server->echoes));
    server->starved = calloc(server->descriptors_max, sizeof(*server->starved));
    result = server->echoes && server->starved ? 0 : -ENOMEM;
    if (result == 0)
        result = prepare(server, listeners, listener_count, stop_fd);
    while (result == 0)
        result = turn(server);
    if (server->ring.fd > 0) {
        close(server->ring.fd);
        noria_ring_unmap(&server->ring);
        noria_group_unmap(&server->group);
    }
    for (size_t fd = 0; server->echoes && fd < server->descriptors_max; fd++)
        if (server->echoes[fd].open)
            close((int)fd);
    free(server->echoes);
    free(server->starved);
    free(server);
    return result < 0 ? result : 0;
}
#endif
