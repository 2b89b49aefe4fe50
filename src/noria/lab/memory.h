/* What a load generator owns: made once, so that no phase allocates. Part of client.c, which alone
 * includes it. */
#ifndef NORIA_LAB_MEMORY_H
#define NORIA_LAB_MEMORY_H

static void *aligned_zeroed(size_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, bytes ? bytes : 1) != 0)
        return NULL;
    memset(memory, 0, bytes); /* touched once, so that no page fault falls into a measurement */
    return memory;
}

/* Allocates what the sizes already set in the client ask for. 0, or minus errno. */
int lab_client_init(struct lab_client *client)
{
    size_t table_bytes = (size_t)TABLE_STARTS * ALIGNMENT + client->size_max;
    uint64_t state = client->seed;
    client->epoll_fd = -1;
    client->mismatch.connection = -1;
    client->reservoir = client->seed ^ 0x5851f42d4c957f2dull;
    client->connections = aligned_zeroed(client->connection_count * sizeof(*client->connections));
    client->sent_ns =
        aligned_zeroed(client->connection_count * client->depth_max * sizeof(uint64_t));
    client->samples = aligned_zeroed(client->samples_max * sizeof(uint32_t));
    client->table = aligned_zeroed(table_bytes);
    client->hot = aligned_zeroed(HOT_BYTES);
    client->datagram = aligned_zeroed(client->size_max);
    client->train_bytes = aligned_zeroed(client->train * client->size_max);
    if (!client->connections || !client->sent_ns || !client->samples || !client->table
        || !client->hot || !client->datagram || !client->train_bytes)
        return -ENOMEM;
    for (size_t i = 0; i + 8 <= table_bytes; i += 8) {
        uint64_t word = random_next(&state);
        memcpy(client->table + i, &word, 8);
    }
    for (size_t i = 0; i < client->connection_count; i++)
        client->connections[i].fd = -1;
    client->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return client->epoll_fd < 0 ? -errno : 0;
}

void lab_client_clear(struct lab_client *client)
{
    if (client->connections)
        lab_client_abort(client);
    if (client->tls_context)
        lab_tls_context_free(client->tls_context);
    client->tls_context = NULL;
    if (client->epoll_fd >= 0)
        close(client->epoll_fd);
    client->epoll_fd = -1;
    free(client->request);
    free(client->response);
    free(client->datagram);
    free(client->train_bytes);
    free(client->targets);
    free(client->connections);
    free(client->sent_ns);
    free(client->samples);
    free(client->table);
    free(client->hot);
    client->request = NULL;
    client->response = NULL;
    client->datagram = NULL;
    client->train_bytes = NULL;
    client->targets = NULL;
    client->connections = NULL;
    client->connection_count = 0;
    client->sent_ns = NULL;
    client->samples = NULL;
    client->table = NULL;
    client->hot = NULL;
}

#endif
