/* Trains of datagrams: many equal ones in a row, in one direction, and a short one behind them in
 * each. Part of client.c, which alone includes it.
 *
 * A tail is the train's number (8 bytes), how many datagrams it has and how long they are (4 bytes
 * each). Towards the server the train goes with its tail behind it, handed to the kernel in one
 * piece where it can cut that (UDP_SEGMENT, udp(7)); the answer is the tail and how many datagrams
 * of the train the server was given (8 bytes). Towards the client a tail asks for a train, which
 * comes with the tail behind it. One that is not whole counts what it lacks as lost, and is had
 * again. */
#ifndef NORIA_LAB_TRAINS_H
#define NORIA_LAB_TRAINS_H

enum { TAIL_BYTES = 16, TOLD_BYTES = 8, SOL_UDP_ = 17, UDP_SEGMENT_ = 103, UDP_GRO_ = 104 };

/* The bytes of a train are told by their place in it, as in scenarios/trains.py. */
static void train_prepare(struct lab_client *client)
{
    if (client->train == 0)
        return;
    size_t count = client->train * client->size;
    for (size_t i = 0; i < count; i++)
        client->train_bytes[i] = (uint8_t)((uint32_t)i * 2654435761u >> 24);
}

static void tail_write(const struct lab_client *client, uint8_t *into, uint64_t number)
{
    uint32_t measures[] = {(uint32_t)client->train, (uint32_t)client->size};
    memcpy(into, &number, sizeof(number));
    memcpy(into + sizeof(number), measures, sizeof(measures));
}

static ssize_t train_send_whole(const struct lab_client *client, int fd, uint8_t *tail)
{
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } control = {.bytes = {0}};
    struct iovec pieces[] = {
        {.iov_base = client->train_bytes, .iov_len = client->train * client->size},
        {.iov_base = tail, .iov_len = TAIL_BYTES}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2, .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    uint16_t segment = (uint16_t)client->size;
    header->cmsg_level = SOL_UDP_;
    header->cmsg_type = UDP_SEGMENT_;
    header->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(header), &segment, sizeof(segment));
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static ssize_t train_send_each(const struct lab_client *client, int fd, const uint8_t *tail)
{
    for (size_t i = 0; i < client->train; i++)
        if (send(fd, client->train_bytes + i * client->size, client->size,
                 MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            return -1;
    return send(fd, tail, TAIL_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Sends a train with its tail, or the tail alone where the train is to come from the server. */
static ssize_t train_send(struct lab_client *client, struct lab_connection *connection,
                          uint64_t number)
{
    uint8_t tail[TAIL_BYTES];
    tail_write(client, tail, number);
    if (client->train_back)
        return send(connection->fd, tail, TAIL_BYTES, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!client->train_singly) {
        ssize_t count = train_send_whole(client, connection->fd, tail);
        if (count >= 0 || (errno != EINVAL && errno != EIO && errno != EMSGSIZE
                           && errno != EOPNOTSUPP && errno != ENOPROTOOPT))
            return count;
        client->train_singly = 1; /* this kernel does not cut */
    }
    return train_send_each(client, connection->fd, tail);
}

/* The train of this number has come, or was taken, as a whole. */
static void train_answered(struct lab_client *client, struct lab_connection *connection)
{
    uint64_t *at = sent_at(client, (size_t)(connection - client->connections),
                           connection->answered);
    uint64_t now_ns = lab_now_ns();
    if (client->phase == PHASE_ECHO)
        record_sample(client, now_ns - *at);
    else if (connection->unanswered)
        record_sample(client, now_ns - connection->connect_ns);
    connection->unanswered = 0;
    *at = 0;
    connection->answered++;
    client->result.requests += client->train;
    client->progress[PROGRESS_ANSWERED] += client->train;
    if (!connection_owes(connection) && client->phase == PHASE_CONNECT)
        client->result.connections++;
}

/* Takes the tail that ends a train. 0, or a failure code. */
static int tail_take(struct lab_client *client, struct lab_connection *connection)
{
    size_t index = (size_t)(connection - client->connections);
    uint8_t tail[TAIL_BYTES];
    uint64_t number, told = connection->got_bytes;
    int whole = !connection->broken;
    memcpy(&number, client->hot, sizeof(number));
    if (!client->train_back)
        memcpy(&told, client->hot + TAIL_BYTES, sizeof(told));
    connection->got_bytes = 0;
    connection->broken = 0;
    if (number < connection->answered) {
        client->result.duplicates++;
        return 0;
    }
    if (connection->answered == connection->sent)
        return FAILURE_SURPLUS;
    tail_write(client, tail, connection->answered);
    if (memcmp(client->hot, tail, TAIL_BYTES) != 0) {
        note_mismatch(client, index, client->hot, tail, TAIL_BYTES);
        return FAILURE_MISMATCH;
    }
    if (whole && told == client->train) {
        train_answered(client, connection);
        return 0;
    }
    client->result.lost += told < client->train ? client->train - told : 0;
    if (train_send(client, connection, number) >= 0)
        *sent_at(client, index, number) = lab_now_ns();
    return 0;
}

/* Takes one datagram of a train that comes from the server. 0, or a failure code. */
static int wagon_take(struct lab_client *client, struct lab_connection *connection,
                      const uint8_t *bytes)
{
    size_t index = (size_t)(connection - client->connections);
    size_t due = connection->got_bytes, size = client->size;
    size_t looked = 0, found = due % client->train;
    while (memcmp(bytes, client->train_bytes + found * size, size) != 0) {
        if (++looked == client->train) {
            note_mismatch(client, index, bytes, client->train_bytes + found * size, size);
            return FAILURE_MISMATCH;
        }
        found = (found + 1) % client->train;
    }
    if (found > due) {
        client->result.lost += found - due;
        connection->broken = 1;
    } else if (found < due) { /* a train that is had again, or the rest of one */
        client->result.duplicates++;
        connection->broken = found != 0;
    }
    connection->got_bytes = (uint32_t)found + 1;
    return 0;
}

/* Takes what was received at once: a tail, one datagram of a train, or several (UDP_GRO). */
static int train_take(struct lab_client *client, struct lab_connection *connection, size_t count,
                      size_t segment)
{
    client->result.bytes += count;
    client->progress[PROGRESS_BYTES] += count;
    if (count == (client->train_back ? TAIL_BYTES : TAIL_BYTES + TOLD_BYTES))
        return tail_take(client, connection);
    if (!client->train_back || segment != client->size || count % client->size != 0)
        return FAILURE_MISMATCH;
    for (size_t at = 0; at < count; at += client->size) {
        int failure = wagon_take(client, connection, client->hot + at);
        if (failure)
            return failure;
    }
    return 0;
}

/* Receives once; `segment` is how long the datagrams are that came in one piece. */
static ssize_t train_receive(const struct lab_client *client, int fd, size_t *segment)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec piece = {.iov_base = client->hot, .iov_len = HOT_BYTES};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t count = recvmsg(fd, &message, MSG_DONTWAIT);
    *segment = count < 0 ? 0 : (size_t)count;
    struct cmsghdr *header = count < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_UDP_ && header->cmsg_type == UDP_GRO_) {
        int told;
        memcpy(&told, CMSG_DATA(header), sizeof(told));
        *segment = (size_t)told;
    }
    return count;
}

static void trains_event(struct lab_client *client, struct lab_connection *connection)
{
    do {
        size_t segment;
        ssize_t count = train_receive(client, connection->fd, &segment);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            break;
        int failure = count < 0 ? errno
                                : train_take(client, connection, (size_t)count, segment);
        if (failure) {
            connection_fail(client, connection, failure);
            return;
        }
    } while (connection_owes(connection) || client->phase != PHASE_ECHO);
    datagrams_send(client, connection);
    connection_settle(client, connection);
}

#endif
