/* The native load generator. It busy-polls: a client that sleeps would make the wake-ups of a
 * virtual CPU the thing measured. Every byte of every echo is compared with what was sent. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "echoes.h"
#include "openssl.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    HOT_BYTES = 256 * 1024,
    STARTS_PER_TURN = 64,
    CALM_WAIT_MS = 20         /* idle phase only: nothing is timed there */
};

#define INTERRUPT_NS 100000000ull
#define SOURCE_FIRST 0x7f010001u /* 127.1.0.1: no server of the lab listens there */

uint64_t lab_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* Keeps the count of connections the running phase still waits for. Ends every change of state. */
static void connection_settle(struct lab_client *client, struct lab_connection *connection)
{
    uint8_t busy = connection->active && connection->state != CLOSED
                   && (connection->state != READY || connection_owes(connection));
    client->busy += busy;
    client->busy -= connection->busy;
    connection->busy = busy;
}

static void connection_close(struct lab_client *client, struct lab_connection *connection)
{
    if (connection->state == CLOSED)
        return;
    if (connection->tls)
        lab_tls_free(connection->tls);
    connection->tls = NULL;
    close(connection->fd); /* leaves the epoll set by itself: there is no second reference */
    client->progress[PROGRESS_ALIVE]--;
    connection->fd = -1;
    connection->state = CLOSED;
    connection->active = 0;
    connection_settle(client, connection);
}

static void connection_fail(struct lab_client *client, struct lab_connection *connection, int code)
{
    count_failure(client, code);
    connection_close(client, connection);
}

/* May this connection begin a request now? */
static int may_send(const struct lab_client *client, const struct lab_connection *connection)
{
    return !client->stopping && connection->active
           && connection->sent - connection->answered < client->depth
           && (client->requests_max == 0 || connection->issued < client->requests_max);
}

#include "datagrams.h"

/* What send() and recv() do, with TLS where the connection has it. */
static ssize_t connection_put(struct lab_connection *connection, const uint8_t *bytes, size_t count)
{
    if (connection->tls)
        return lab_tls_write(connection->tls, bytes, count);
    return send(connection->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t connection_take(struct lab_connection *connection, uint8_t *bytes, size_t count)
{
    if (connection->tls)
        return lab_tls_read(connection->tls, bytes, count);
    return recv(connection->fd, bytes, count, MSG_DONTWAIT);
}

/* Hands the kernel what may be sent now: the rest of a request, then others up to the depth. */
static void connection_send(struct lab_client *client, struct lab_connection *connection)
{
    size_t index = (size_t)(connection - client->connections);
    if (client->datagrams) {
        datagrams_send(client, connection);
        return;
    }
    for (;;) {
        if (!connection->sending) {
            if (!may_send(client, connection))
                return;
            connection->sending = 1;
            connection->sent_bytes = 0;
            connection->issued++;
            client->sent_ns[index * client->depth_max + connection->sent % client->depth_max] =
                lab_now_ns();
        }
        const uint8_t *bytes = request_bytes(client, index, connection->sent);
        ssize_t count = connection_put(connection, bytes + connection->sent_bytes,
                                       client->size - connection->sent_bytes);
        if (count < 0) {
            if (errno == EINTR)
                continue;
            if (errno != EAGAIN)
                connection_fail(client, connection, errno);
            return;
        }
        connection->sent_bytes += (uint32_t)count;
        if (connection->sent_bytes == client->size) {
            connection->sending = 0;
            connection->sent++;
        }
    }
}

/* Half-closes, or says close_notify; the server's end is awaited. */
static void connection_end(struct lab_client *client, struct lab_connection *connection)
{
    connection->active = 1;
    connection->state = CLOSING;
    connection_settle(client, connection);
    if (connection->tls)
        lab_tls_say_goodbye(connection->tls);
    else if (shutdown(connection->fd, SHUT_WR) < 0)
        connection_fail(client, connection, errno);
}

/* A connection is closed as it should be. The sample of a churn is the connection's whole life. */
static void connection_through(struct lab_client *client, struct lab_connection *connection)
{
    uint64_t start_ns = connection->connect_ns;
    connection_close(client, connection);
    client->result.connections++;
    if (client->phase == PHASE_CHURN)
        record_sample(client, lab_now_ns() - start_ns);
}

static void connection_eof(struct lab_client *client, struct lab_connection *connection)
{
    if (connection->state == CLOSING)
        connection_through(client, connection);
    else
        connection_fail(client, connection, FAILURE_EOF);
}

static void connection_receive(struct lab_client *client, struct lab_connection *connection,
                               int to_the_end)
{
    for (;;) {
        ssize_t count = connection_take(connection, client->hot, HOT_BYTES);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            break;
        if (count < 0) {
            connection_fail(client, connection, errno);
            return;
        }
        if (count == 0) {
            connection_eof(client, connection);
            return;
        }
        int failure = answer_check(client, connection, (size_t)count);
        if (failure) {
            connection_fail(client, connection, failure);
            return;
        }
        if (client->phase == PHASE_CHURN && connection->answered) {
            if (client->half_close)
                connection_end(client, connection);
            else
                connection_through(client, connection);
            if (connection->state == CLOSED)
                return;
        }
        /* Edge-triggered: after a short read new bytes make a new edge. A FIN that came along with
         * the bytes does not, so EPOLLRDHUP reads to the end. TLS gives one record at a time. */
        if (count < HOT_BYTES && !to_the_end && !connection->tls)
            break;
    }
}

/* Has a socket connect from the address whose turn it is. Its port is left to connect(), which may
 * take one again for another target, or from TIME_WAIT; bind() may not. 0, or an errno. */
static int source_bind(struct lab_client *client, int fd)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    int one = 1;
    source.sin_addr.s_addr = htonl(SOURCE_FIRST + (uint32_t)client->source_next);
    client->source_next = (client->source_next + 1) % client->sources;
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) < 0
        || bind(fd, (const struct sockaddr *)&source, sizeof(source)) < 0)
        return errno;
    return 0;
}

/* Starts one connect. The clock of the first answer starts with the first try. */
static void connection_open(struct lab_client *client, struct lab_connection *connection)
{
    size_t index = (size_t)(connection - client->connections);
    const struct lab_target *target = &client->targets[index % client->target_count];
    int one = 1;
    if (client->datagrams) {
        datagrams_open(client, connection);
        return;
    }
    if (connection->state == CLOSED) {
        uint64_t earlier = connection->earlier + connection->sent + connection->sending;
        memset(connection, 0, sizeof(*connection));
        connection->earlier = earlier;
        connection->fd = socket(target->address.ss_family,
                                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connection->fd < 0) {
            count_failure(client, errno);
            return;
        }
        connection->state = CONNECTING;
        connection->active = 1;
        connection->unanswered = 1;
        connection->connect_ns = lab_now_ns();
        client->progress[PROGRESS_ALIVE]++;
        if (target->address.ss_family != AF_UNIX)
            setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        int error = 0;
        if (client->sources && target->address.ss_family == AF_INET)
            error = source_bind(client, connection->fd);
        if (error) {
            connection_fail(client, connection, error);
            return;
        }
    }
    connection->state = CONNECTING;
    connection_settle(client, connection);
    int result;
    do
        result = connect(connection->fd, (const struct sockaddr *)&target->address, target->length);
    while (result < 0 && errno == EINTR);
    if (result < 0 && errno == EAGAIN && target->address.ss_family == AF_UNIX) {
        connection->state = PUT_OFF; /* the backlog is full; ask again next turn */
        client->result.retries++;
        return;
    }
    if (result < 0 && errno != EINPROGRESS) {
        connection_fail(client, connection, errno);
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = index};
    if (epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        connection_fail(client, connection, errno);
}

static void connection_ready(struct lab_client *client, struct lab_connection *connection)
{
    client->progress[PROGRESS_CONNECTED]++;
    connection->state = READY;
    connection_send(client, connection);
    connection_settle(client, connection);
}

/* Goes on with the handshake, and then with the first request. */
static void connection_shake_hands(struct lab_client *client, struct lab_connection *connection)
{
    if (lab_tls_handshake(connection->tls) < 0) {
        if (errno != EAGAIN)
            connection_fail(client, connection, errno);
        return;
    }
    connection_ready(client, connection);
}

static void connection_established(struct lab_client *client, struct lab_connection *connection)
{
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error) {
        connection_fail(client, connection, error);
        return;
    }
    if (client->tls_context == NULL) {
        connection_ready(client, connection);
        return;
    }
    connection->state = SHAKING_HANDS;
    connection->tls = lab_tls_connect(client->tls_context, connection->fd);
    if (connection->tls == NULL)
        connection_fail(client, connection, ENOMEM);
    else
        connection_shake_hands(client, connection);
}

static void connection_event(struct lab_client *client, const struct epoll_event *event)
{
    struct lab_connection *connection = &client->connections[event->data.u64];
    if (connection->state == CLOSED)
        return;
    if (client->train) {
        trains_event(client, connection);
        return;
    }
    if (client->datagrams) {
        datagrams_event(client, connection);
        return;
    }
    if (connection->state == CONNECTING) {
        if (event->events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            connection_established(client, connection);
        return;
    }
    if (connection->state == SHAKING_HANDS) {
        connection_shake_hands(client, connection);
        return;
    }
    uint32_t ends = event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    if ((event->events & EPOLLIN) || ends)
        connection_receive(client, connection, ends != 0);
    if (connection->state == READY && (!connection->sending || (event->events & EPOLLOUT)))
        connection_send(client, connection);
    connection_settle(client, connection);
}

/* One look at the sockets. wait_ms is 0 wherever something is timed. */
static void poll_once(struct lab_client *client, int wait_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(client->epoll_fd, events, EVENTS_MAX, wait_ms);
    client->result.polls++;
    if (count == 0)
        client->result.empty_polls++;
    if (count < 0 && errno != EINTR)
        count_failure(client, errno);
    for (int i = 0; i < count; i++)
        connection_event(client, &events[i]);
    if (client->datagrams)
        datagrams_resend(client);
}

static void switches_read(uint64_t *voluntary, uint64_t *involuntary)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_THREAD, &usage);
    *voluntary = (uint64_t)usage.ru_nvcsw;
    *involuntary = (uint64_t)usage.ru_nivcsw;
}

static uint64_t phase_enter(struct lab_client *client, int phase)
{
    memset(&client->result, 0, sizeof(client->result));
    client->mismatch.connection = -1;
    client->phase = phase;
    client->stopping = 0;
    client->busy = 0;
    client->requests_max = 0;
    client->depth = 1;
    client->sources = 0;
    client->looked_ns = 0;
    for (size_t i = 0; i < client->connection_count; i++) {
        client->connections[i].active = 0;
        client->connections[i].busy = 0;
        client->connections[i].issued = 0;
    }
    client->progress[PROGRESS_PHASE] = (uint64_t)phase;
    switches_read(&client->result.sleeps, &client->result.preemptions);
    return lab_now_ns();
}

static void phase_leave(struct lab_client *client, uint64_t start_ns)
{
    uint64_t sleeps, preemptions;
    client->result.elapsed_ns = lab_now_ns() - start_ns;
    switches_read(&sleeps, &preemptions);
    client->result.sleeps = sleeps - client->result.sleeps;
    client->result.preemptions = preemptions - client->result.preemptions;
    client->progress[PROGRESS_PHASE] = PHASE_NONE;
    client->phase = PHASE_NONE;
}

/* Whoever still owes an answer when the time is over is in an unknown state: count and close it. */
static void phase_give_up(struct lab_client *client)
{
    for (size_t i = 0; i < client->connection_count && client->busy; i++) {
        struct lab_connection *connection = &client->connections[i];
        if (connection->busy)
            connection_fail(client, connection, FAILURE_TIMEOUT);
    }
}

/* True when the phase must end now: its time is over, or the user wants out. */
static int phase_over(struct lab_client *client, uint64_t now_ns, uint64_t end_ns,
                      uint64_t *asked_ns)
{
    if (now_ns >= end_ns)
        return 1;
    if (now_ns - *asked_ns < INTERRUPT_NS || client->interrupted == NULL)
        return 0;
    *asked_ns = now_ns;
    return client->interrupted(client->interrupted_argument);
}

void lab_client_connect(struct lab_client *client, size_t count, size_t parallel, size_t size,
                        uint64_t timeout_ns)
{
    uint64_t start_ns = phase_enter(client, PHASE_CONNECT);
    uint64_t asked_ns = start_ns;
    size_t next = 0, wanted = count;
    sizes_set(client, size);
    train_prepare(client);
    client->requests_max = 1;
    for (;;) {
        for (int i = 0; i < STARTS_PER_TURN && client->busy < parallel && wanted; i++) {
            while (next < client->connection_count && client->connections[next].state != CLOSED)
                next++;
            if (next == client->connection_count)
                wanted = 1;
            else
                connection_open(client, &client->connections[next++]);
            wanted--;
        }
        for (size_t i = 0; client->result.retries && i < next; i++)
            if (client->connections[i].state == PUT_OFF)
                connection_open(client, &client->connections[i]);
        poll_once(client, 0);
        if (client->busy == 0 && wanted == 0)
            break;
        if (phase_over(client, lab_now_ns(), start_ns + timeout_ns, &asked_ns)) {
            phase_give_up(client);
            break;
        }
    }
    phase_leave(client, start_ns);
}

void lab_client_echo(struct lab_client *client, const struct lab_echo *echo)
{
    uint64_t start_ns = phase_enter(client, PHASE_ECHO);
    uint64_t asked_ns = start_ns;
    uint64_t stop_ns = start_ns + echo->duration_ns;
    size_t next = echo->first;
    size_t end = echo->first + echo->active;
    size_t ramp = echo->ramp ? echo->ramp : echo->active;
    if (end > client->connection_count)
        end = client->connection_count;
    sizes_set(client, echo->size);
    train_prepare(client);
    client->depth = echo->depth;
    client->requests_max = echo->requests_max;
    for (;;) {
        uint64_t now_ns = lab_now_ns();
        if (now_ns >= stop_ns)
            client->stopping = 1;
        for (size_t i = 0; i < ramp && next < end && !client->stopping; i++, next++) {
            struct lab_connection *connection = &client->connections[next];
            if (connection->state != READY)
                continue;
            connection->active = 1;
            client->result.connections++;
            connection_send(client, connection);
            connection_settle(client, connection);
        }
        poll_once(client, 0);
        if (client->busy == 0 && (client->stopping || next == end))
            break;
        if (phase_over(client, now_ns, stop_ns + echo->drain_ns, &asked_ns)) {
            phase_give_up(client);
            break;
        }
    }
    phase_leave(client, start_ns);
}

/* Connections come and go until the time is over: connect, one request, its echo, close. Whoever
 * failed begins anew in the next turn like the others. */
void lab_client_churn(struct lab_client *client, const struct lab_churn *churn)
{
    uint64_t start_ns = phase_enter(client, PHASE_CHURN);
    uint64_t asked_ns = start_ns;
    uint64_t stop_ns = start_ns + churn->duration_ns;
    sizes_set(client, churn->size);
    client->requests_max = 1;
    client->sources = churn->sources;
    client->source_next = 0;
    client->half_close = churn->half_close;
    for (;;) {
        uint64_t now_ns = lab_now_ns();
        for (size_t i = 0; i < churn->parallel; i++) {
            struct lab_connection *connection = &client->connections[i];
            if ((connection->state == CLOSED && now_ns < stop_ns) || connection->state == PUT_OFF)
                connection_open(client, connection);
        }
        poll_once(client, 0);
        if (client->busy == 0 && now_ns >= stop_ns)
            break;
        if (phase_over(client, now_ns, stop_ns + churn->drain_ns, &asked_ns)) {
            phase_give_up(client);
            break;
        }
    }
    phase_leave(client, start_ns);
}

void lab_client_idle(struct lab_client *client, uint64_t duration_ns)
{
    uint64_t start_ns = phase_enter(client, PHASE_IDLE);
    uint64_t asked_ns = start_ns;
    while (!phase_over(client, lab_now_ns(), start_ns + duration_ns, &asked_ns))
        poll_once(client, CALM_WAIT_MS);
    client->result.connections = lab_client_alive(client);
    phase_leave(client, start_ns);
}

void lab_client_disconnect(struct lab_client *client, uint64_t timeout_ns)
{
    uint64_t start_ns = phase_enter(client, PHASE_DISCONNECT);
    uint64_t asked_ns = start_ns;
    size_t next = 0;
    for (;;) {
        for (int i = 0; i < STARTS_PER_TURN && next < client->connection_count; i++, next++) {
            struct lab_connection *connection = &client->connections[next];
            if (connection->state != READY)
                continue;
            if (client->datagrams)
                connection_through(client, connection);
            else
                connection_end(client, connection);
        }
        poll_once(client, 0);
        if (client->busy == 0 && next == client->connection_count)
            break;
        if (phase_over(client, lab_now_ns(), start_ns + timeout_ns, &asked_ns)) {
            phase_give_up(client);
            break;
        }
    }
    phase_leave(client, start_ns);
}

void lab_client_abort(struct lab_client *client)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    for (size_t i = 0; i < client->connection_count; i++) {
        struct lab_connection *connection = &client->connections[i];
        if (connection->state == CLOSED)
            continue;
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        connection->active = 0;
        connection_close(client, connection);
    }
}

size_t lab_client_alive(const struct lab_client *client)
{
    size_t alive = 0;
    for (size_t i = 0; i < client->connection_count; i++)
        alive += client->connections[i].state == READY;
    return alive;
}

#include "memory.h"
#endif
