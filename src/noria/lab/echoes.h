/* Requests and their answers: which bytes are sent, whether the right ones come back, and how long
 * that took. Part of client.c, which alone includes it. */
#ifndef NORIA_LAB_ECHOES_H
#define NORIA_LAB_ECHOES_H

#include "native.h"

#include <string.h>

enum {
    ALIGNMENT = 64,      /* requests start on cache lines: kernel copies are faster so */
    TABLE_STARTS = 16384 /* places in the table where a request may start */
};

static uint64_t random_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* The bytes of one request: a stretch of the random table whose start depends on connection,
 * request and seed. Earlier connections count, or else their echoes would pass for this one's. */
static const uint8_t *request_bytes(const struct lab_client *client, size_t index, uint64_t request)
{
    if (client->request)
        return client->request;
    uint64_t number = client->connections[index].earlier + request;
    uint64_t start = (uint64_t)index * 0x9e37u + number * 0x2545u + client->seed;
    start ^= start >> 17;
    return client->table + (start % TABLE_STARTS) * ALIGNMENT;
}

/* The bytes that have to come back for it. */
static const uint8_t *answer_bytes(const struct lab_client *client, size_t index, uint64_t request)
{
    return client->response ? client->response : request_bytes(client, index, request);
}

static void sizes_set(struct lab_client *client, size_t size)
{
    client->size = client->request ? client->request_bytes : size;
    client->answer_size = client->response ? client->response_bytes : size;
}

static void count_failure(struct lab_client *client, int code)
{
    int slot = code > 0 && code < FAILURE_SLOTS ? code : FAILURE_OWN - 1;
    client->result.failures[slot]++;
    client->progress[PROGRESS_FAILURES]++;
}

static void record_sample(struct lab_client *client, uint64_t latency_ns)
{
    struct lab_result *result = &client->result;
    uint32_t sample = latency_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_ns;
    if (latency_ns > result->worst_ns)
        result->worst_ns = latency_ns;
    result->samples_seen++;
    if (result->samples_kept < client->samples_max) {
        client->samples[result->samples_kept++] = sample;
        return;
    }
    uint64_t place = random_next(&client->reservoir) % result->samples_seen;
    if (place < client->samples_max)
        client->samples[place] = sample;
}

/* Does this connection still owe an answer? */
static int connection_owes(const struct lab_connection *connection)
{
    return connection->sending || connection->sent != connection->answered;
}

static void note_mismatch(struct lab_client *client, size_t index, const uint8_t *got,
                          const uint8_t *expected, size_t count)
{
    struct lab_connection *connection = &client->connections[index];
    size_t at = 0;
    if (client->mismatch.connection >= 0)
        return;
    while (at + 1 < count && got[at] == expected[at])
        at++;
    client->mismatch.connection = (int64_t)index;
    client->mismatch.request = connection->answered;
    client->mismatch.offset = connection->got_bytes + at;
    client->mismatch.expected = expected[at];
    client->mismatch.got = got[at];
}

static void answer_complete(struct lab_client *client, struct lab_connection *connection,
                            uint64_t now_ns)
{
    size_t index = (size_t)(connection - client->connections);
    size_t slot = index * client->depth_max + connection->answered % client->depth_max;
    if (client->phase == PHASE_ECHO)
        record_sample(client, now_ns - client->sent_ns[slot]);
    connection->got_bytes = 0;
    connection->answered++;
    client->result.requests++;
    client->progress[PROGRESS_ANSWERED]++;
    if (!connection_owes(connection) && client->phase == PHASE_CONNECT)
        client->result.connections++;
}

/* Compares received bytes with the requests they answer. 0, or a failure code. */
static int answer_check(struct lab_client *client, struct lab_connection *connection, size_t count)
{
    size_t index = (size_t)(connection - client->connections);
    const uint8_t *got = client->hot;
    uint64_t now_ns = lab_now_ns();
    client->result.bytes += count;
    client->progress[PROGRESS_BYTES] += count;
    if (connection->unanswered && client->phase != PHASE_CHURN) {
        connection->unanswered = 0;
        record_sample(client, now_ns - connection->connect_ns);
    }
    while (count) {
        /* A server may echo the first part of a request before the rest was sent. */
        size_t known = connection->answered < connection->sent        ? client->answer_size
                       : connection->sending && !client->response ? connection->sent_bytes
                                                                      : 0;
        size_t take = known - connection->got_bytes;
        if (take == 0)
            return FAILURE_SURPLUS;
        if (take > count)
            take = count;
        const uint8_t *expected =
            answer_bytes(client, index, connection->answered) + connection->got_bytes;
        if (memcmp(got, expected, take) != 0) {
            note_mismatch(client, index, got, expected, take);
            return FAILURE_MISMATCH;
        }
        got += take;
        count -= take;
        connection->got_bytes += (uint32_t)take;
        if (connection->got_bytes == client->answer_size)
            answer_complete(client, connection, now_ns);
    }
    return 0;
}

#endif
