/* Batches of datagrams: the messages of recvmmsg(2) and sendmmsg(2), and memory for them.
 *
 * Everything here is protected by the interpreter lock. */

#ifndef NORIA_DATAGRAMS_H
#define NORIA_DATAGRAMS_H

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef MSG_DONTWAIT
#define MSG_DONTWAIT 0
#endif
#define NORIA_FLAGS (MSG_NOSIGNAL | MSG_DONTWAIT)

#define NORIA_IP_BYTES 65536           /* longer than any datagram of UDP */
#define NORIA_OTHER_BYTES (256 * 1024) /* as asyncio asks for; the rest of a longer one is lost */
#define NORIA_SKEW 1088                /* 17 lines of the cache */
#define NORIA_RECEIVE_MAX 16
#define NORIA_OTHER_MAX 4
#define NORIA_SEND_MAX 64
#define NORIA_POOL (NORIA_RECEIVE_MAX * (NORIA_IP_BYTES + NORIA_SKEW))

#if defined(__linux__)
/* linux/udp.h has them; the C library's header may be older than the kernel. */
#define NORIA_UDP 17
#define NORIA_UDP_SEGMENT 103
#define NORIA_UDP_GRO 104
#endif

static char noria_pool[NORIA_POOL] __attribute__((aligned(4096)));
static size_t noria_stride;
static size_t noria_lengths[NORIA_RECEIVE_MAX];
static struct sockaddr_storage noria_names[NORIA_RECEIVE_MAX];
static socklen_t noria_name_lengths[NORIA_RECEIVE_MAX];
static int noria_segments[NORIA_RECEIVE_MAX]; /* bytes of each of the datagrams in one piece */

static inline int noria_failure(void) {
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

#if defined(__linux__) || defined(__FreeBSD__)
#define NORIA_BATCHES 1

typedef union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } noria_control;

static noria_control noria_controls[NORIA_RECEIVE_MAX];
static struct mmsghdr noria_in[NORIA_RECEIVE_MAX];
static struct iovec noria_in_vectors[NORIA_RECEIVE_MAX];

static int noria_prepared = -1;

/* The headers stay as they are from call to call; what the kernel writes into is put back. */
static inline void noria_prepare(size_t size, int coalescing) {
    int index;
    noria_stride = size + NORIA_SKEW;
    for (index = 0; index < NORIA_RECEIVE_MAX && (index + 1) * noria_stride <= NORIA_POOL;
         index++) {
        struct msghdr *header = &noria_in[index].msg_hdr;
        noria_in_vectors[index].iov_base = noria_pool + index * noria_stride;
        noria_in_vectors[index].iov_len = size;
        header->msg_iov = &noria_in_vectors[index];
        header->msg_iovlen = 1;
        header->msg_name = &noria_names[index];
        header->msg_namelen = sizeof noria_names[index];
        header->msg_control = coalescing ? noria_controls[index].bytes : NULL;
        header->msg_controllen = coalescing ? sizeof noria_controls[index] : 0;
    }
}

static inline int noria_receive_batch(int fd, int count, size_t size, int coalescing) {
    int result, index;
    if (noria_prepared != (int)size + coalescing) {
        noria_prepare(size, coalescing);
        noria_prepared = (int)size + coalescing;
    }
    do {
        result = recvmmsg(fd, noria_in, count, MSG_DONTWAIT, NULL);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return noria_failure();
    for (index = 0; index < result; index++) {
        struct msghdr *header = &noria_in[index].msg_hdr;
        noria_lengths[index] = noria_in[index].msg_len;
        noria_name_lengths[index] = header->msg_namelen;
        noria_segments[index] = 0;
#ifdef NORIA_UDP_GRO
        if (coalescing) {
            struct cmsghdr *entry = CMSG_FIRSTHDR(header);
            for (; entry != NULL; entry = CMSG_NXTHDR(header, entry))
                if (entry->cmsg_level == NORIA_UDP && entry->cmsg_type == NORIA_UDP_GRO)
                    memcpy(&noria_segments[index], CMSG_DATA(entry), sizeof(int));
        }
#endif
        header->msg_namelen = sizeof noria_names[index];
        if (coalescing) header->msg_controllen = sizeof noria_controls[index];
    }
    return result;
}

static struct mmsghdr noria_out[NORIA_SEND_MAX];
static struct iovec noria_out_vectors[NORIA_SEND_MAX];

static inline int noria_send_batch(int fd, int count) {
    int result;
    do {
        result = sendmmsg(fd, noria_out, count, NORIA_FLAGS);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? noria_failure() : result;
}
#else
#define NORIA_BATCHES 0

static inline int noria_receive_batch(int fd, int count, size_t size, int coalescing) {
    ssize_t result;
    noria_stride = 0;
    noria_name_lengths[0] = sizeof noria_names[0];
    do {
        result = recvfrom(fd, noria_pool, size, MSG_DONTWAIT,
                          (struct sockaddr *)&noria_names[0], &noria_name_lengths[0]);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return noria_failure();
    noria_lengths[0] = result;
    noria_segments[0] = 0;
    return 1;
}

static inline int noria_send_batch(int fd, int count) { return -EOPNOTSUPP; }
#endif

static inline void noria_put(int index, char *memory, size_t size, char *name, socklen_t length) {
#if NORIA_BATCHES
    struct msghdr *header = &noria_out[index].msg_hdr;
    noria_out_vectors[index].iov_base = memory;
    noria_out_vectors[index].iov_len = size;
    header->msg_iov = &noria_out_vectors[index];
    header->msg_iovlen = 1;
    header->msg_name = name;
    header->msg_namelen = length;
#endif
}

static inline ssize_t noria_send_one(int fd, const char *memory, size_t size, const char *name,
                              socklen_t length) {
    ssize_t result;
    do {
        result = sendto(fd, memory, size, NORIA_FLAGS, (const struct sockaddr *)name, length);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? noria_failure() : result;
}

static inline ssize_t noria_send_segments(int fd, char *memory, size_t size, unsigned segment,
                                   char *name, socklen_t length) {
#ifdef NORIA_UDP_SEGMENT
    union { char bytes[CMSG_SPACE(sizeof(uint16_t))]; struct cmsghdr align; } control = {{0}};
    struct iovec vector = {memory, size};
    struct msghdr header = {0};
    struct cmsghdr *entry;
    uint16_t number = (uint16_t)segment;
    ssize_t result;
    header.msg_name = name;
    header.msg_namelen = length;
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control.bytes;
    header.msg_controllen = sizeof control.bytes;
    entry = CMSG_FIRSTHDR(&header);
    entry->cmsg_level = NORIA_UDP;
    entry->cmsg_type = NORIA_UDP_SEGMENT;
    entry->cmsg_len = CMSG_LEN(sizeof number);
    memcpy(CMSG_DATA(entry), &number, sizeof number);
    do {
        result = sendmsg(fd, &header, NORIA_FLAGS);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? noria_failure() : result;
#else
    return -EOPNOTSUPP;
#endif
}

static inline int noria_can_segment(int fd) {
#ifdef NORIA_UDP_SEGMENT
    int value;
    socklen_t length = sizeof value;
    return getsockopt(fd, NORIA_UDP, NORIA_UDP_SEGMENT, &value, &length) == 0;
#else
    return 0;
#endif
}

static inline int noria_coalesce(int fd, int enabled) {
#ifdef NORIA_UDP_GRO
    int result = setsockopt(fd, NORIA_UDP, NORIA_UDP_GRO, &enabled, sizeof enabled);
    return result < 0 ? -errno : 0;
#else
    return -EOPNOTSUPP;
#endif
}

static inline uint64_t noria_hash(const char *memory, size_t size) {
    uint64_t hash = size, word;
    while (size >= sizeof word) {
        memcpy(&word, memory, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
        memory += sizeof word;
        size -= sizeof word;
    }
    word = 0;
    memcpy(&word, memory, size);
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 32);
}

#endif
