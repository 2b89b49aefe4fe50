/* Datagrams of the load generator: sent within a window, told apart by the number they begin with,
 * sent again where no answer came in time. Part of client.c, which alone includes it. */
#ifndef NORIA_LAB_DATAGRAMS_H
#define NORIA_LAB_DATAGRAMS_H

enum { LOOKS_PER_RESEND = 4 /* those due are looked for so often within the time for an answer */ };

/* When a datagram was sent; 0 as soon as it is answered. The window is never wider than the row. */
static uint64_t *sent_at(struct lab_client *client, size_t index, uint64_t number)
{
    return &client->sent_ns[index * client->depth_max + number % client->depth_max];
}

static void datagrams_send(struct lab_client *client, struct lab_connection *connection);

#include "trains.h"

static void datagram_fill(struct lab_client *client, size_t index, uint64_t number)
{
    memcpy(client->datagram, request_bytes(client, index, number), client->size);
    memcpy(client->datagram, &number, sizeof(number));
}

/* Hands the kernel one datagram, or one train. */
static ssize_t datagram_send(struct lab_client *client, struct lab_connection *connection,
                             uint64_t number)
{
    if (client->train)
        return train_send(client, connection, number);
    datagram_fill(client, (size_t)(connection - client->connections), number);
    return send(connection->fd, client->datagram, client->size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* 1: sent; 0: to be tried later; -1: the socket failed and is closed. */
static int datagram_put(struct lab_client *client, struct lab_connection *connection,
                        uint64_t number)
{
    ssize_t count;
    do
        count = datagram_send(client, connection, number);
    while (count < 0 && errno == EINTR);
    if (count >= 0)
        return 1;
    if (errno == EAGAIN || errno == ENOBUFS)
        return 0;
    connection_fail(client, connection, errno);
    return -1;
}

/* Fills the window. */
static void datagrams_send(struct lab_client *client, struct lab_connection *connection)
{
    size_t index = (size_t)(connection - client->connections);
    while (may_send(client, connection)) {
        uint64_t now_ns = lab_now_ns();
        if (datagram_put(client, connection, connection->sent) <= 0)
            return; /* a full socket becomes writable, which is an event */
        *sent_at(client, index, connection->sent) = now_ns;
        connection->sent++;
        connection->issued++;
    }
}

static void datagrams_open(struct lab_client *client, struct lab_connection *connection)
{
    size_t index = (size_t)(connection - client->connections);
    const struct lab_target *target = &client->targets[index % client->target_count];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = index};
    memset(connection, 0, sizeof(*connection));
    memset(sent_at(client, index, 0), 0, client->depth_max * sizeof(uint64_t));
    connection->fd = socket(target->address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                            0);
    if (connection->fd < 0) {
        count_failure(client, errno);
        return;
    }
    if (client->train_back) /* without it each datagram comes by itself, which is as right */
        setsockopt(connection->fd, SOL_UDP_, UDP_GRO_, &(int){1}, sizeof(int));
    connection->state = READY;
    connection->active = 1;
    connection->unanswered = 1;
    connection->connect_ns = lab_now_ns();
    client->progress[PROGRESS_ALIVE]++;
    if (connect(connection->fd, (const struct sockaddr *)&target->address, target->length) < 0
        || epoll_ctl(client->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) < 0) {
        connection_fail(client, connection, errno);
        return;
    }
    client->progress[PROGRESS_CONNECTED]++;
    datagrams_send(client, connection);
    connection_settle(client, connection);
}

/* Checks one received datagram. 0, or a failure code. An answer that comes twice is none. */
static int datagram_check(struct lab_client *client, struct lab_connection *connection,
                          size_t count)
{
    size_t index = (size_t)(connection - client->connections);
    uint64_t number = 0, now_ns = lab_now_ns();
    client->result.bytes += count;
    client->progress[PROGRESS_BYTES] += count;
    if (count >= sizeof(number))
        memcpy(&number, client->hot, sizeof(number));
    if (number < connection->sent && count >= sizeof(number)
        && (number < connection->answered || *sent_at(client, index, number) == 0)) {
        client->result.duplicates++;
        return 0;
    }
    if (connection->answered == connection->sent)
        return FAILURE_SURPLUS;
    if (number >= connection->sent || count < sizeof(number))
        number = connection->answered; /* nobody's: held against the one that is due */
    datagram_fill(client, index, number);
    if (count != client->size || memcmp(client->hot, client->datagram, count) != 0) {
        size_t compared = count < client->size ? count : client->size;
        note_mismatch(client, index, client->hot, client->datagram, compared);
        return FAILURE_MISMATCH;
    }
    if (client->phase == PHASE_ECHO)
        record_sample(client, now_ns - *sent_at(client, index, number));
    else if (connection->unanswered)
        record_sample(client, now_ns - connection->connect_ns);
    connection->unanswered = 0;
    *sent_at(client, index, number) = 0;
    while (connection->answered < connection->sent
           && *sent_at(client, index, connection->answered) == 0)
        connection->answered++;
    client->result.requests++;
    client->progress[PROGRESS_ANSWERED]++;
    if (!connection_owes(connection) && client->phase == PHASE_CONNECT)
        client->result.connections++;
    return 0;
}

static void datagrams_event(struct lab_client *client, struct lab_connection *connection)
{
    /* What arrives later is an edge of its own, so an echo costs no look at an empty socket. What
     * was there and is not due waits for the next edge, or for a phase that reads to the end. */
    do {
        ssize_t count = recv(connection->fd, client->hot, HOT_BYTES, MSG_DONTWAIT);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            break;
        int failure = count < 0 ? errno : datagram_check(client, connection, (size_t)count);
        if (failure) {
            connection_fail(client, connection, failure);
            return;
        }
    } while (connection_owes(connection) || client->phase != PHASE_ECHO);
    datagrams_send(client, connection);
    connection_settle(client, connection);
}

/* Sends again what was not answered in time, at most a few times within that time. */
static void datagrams_resend(struct lab_client *client)
{
    uint64_t now_ns = lab_now_ns();
    if (now_ns - client->looked_ns < client->resend_ns / LOOKS_PER_RESEND)
        return;
    client->looked_ns = now_ns;
    for (size_t index = 0; index < client->connection_count; index++) {
        struct lab_connection *connection = &client->connections[index];
        if (connection->state != READY || !connection->active)
            continue;
        for (uint64_t number = connection->answered; number < connection->sent; number++) {
            uint64_t *at = sent_at(client, index, number);
            if (*at == 0 || now_ns - *at < client->resend_ns)
                continue;
            int done = datagram_put(client, connection, number);
            if (done < 0)
                break; /* closed */
            *at = now_ns;
            client->result.lost += (uint64_t)done;
        }
    }
}

#endif
