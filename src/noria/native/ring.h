/* io_uring (io_uring(7)): the kernel's documented interface in declarations of our own, and the
 * steps on its shared memory. Layouts and numbers are part of the kernel's ABI and the same on
 * every architecture; sources: io_uring_setup(2), io_uring_enter(2), io_uring_register(2).
 *
 * The kernel reads the submission tail and writes the completion tail on other processors, so both
 * are passed with release and taken with acquire order. */
#ifndef NORIA_RING_H
#define NORIA_RING_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "noria/native/punctual.h"

#define NORIA_SYS_SETUP 425
#define NORIA_SYS_ENTER 426
#define NORIA_SYS_REGISTER 427

enum { /* io_uring_setup(2), flags */
    NORIA_SETUP_CQSIZE = 1 << 3,
    NORIA_SETUP_CLAMP = 1 << 4,
    NORIA_SETUP_R_DISABLED = 1 << 6,
    NORIA_SETUP_SUBMIT_ALL = 1 << 7,
    NORIA_SETUP_TASKRUN_FLAG = 1 << 9,
    NORIA_SETUP_SINGLE_ISSUER = 1 << 12,
    NORIA_SETUP_DEFER_TASKRUN = 1 << 13
};

enum { /* features */
    NORIA_FEAT_SINGLE_MMAP = 1 << 0,
    NORIA_FEAT_NODROP = 1 << 1,
    NORIA_FEAT_SUBMIT_STABLE = 1 << 2,
    NORIA_FEAT_EXT_ARG = 1 << 8,
    NORIA_FEAT_CQE_SKIP = 1 << 11,
    NORIA_FEAT_NO_IOWAIT = 1 << 17
};

enum { /* operations */
    NORIA_OP_NOP = 0,
    NORIA_OP_FSYNC = 3,
    NORIA_OP_POLL_ADD = 6,
    NORIA_OP_ACCEPT = 13,
    NORIA_OP_ASYNC_CANCEL = 14,
    NORIA_OP_CONNECT = 16,
    NORIA_OP_OPENAT = 18,
    NORIA_OP_CLOSE = 19,
    NORIA_OP_STATX = 21,
    NORIA_OP_READ = 22,
    NORIA_OP_WRITE = 23,
    NORIA_OP_SEND = 26,
    NORIA_OP_RECV = 27,
    NORIA_OP_RENAMEAT = 35,
    NORIA_OP_UNLINKAT = 36,
    NORIA_OP_MKDIRAT = 37,
    NORIA_OP_SYMLINKAT = 38,
    NORIA_OP_LINKAT = 39,
    NORIA_OP_FTRUNCATE = 55
};

enum {
    NORIA_SQE_ASYNC = 1 << 4,
    NORIA_SQE_BUFFER_SELECT = 1 << 5,
    NORIA_SQE_CQE_SKIP_SUCCESS = 1 << 6,
    NORIA_RECV_MULTISHOT = 1 << 1,   /* ioprio of RECV */
    NORIA_ACCEPT_MULTISHOT = 1 << 0, /* ioprio of ACCEPT */
    NORIA_CANCEL_ALL = 1 << 0,
    NORIA_CANCEL_FD = 1 << 1,
    NORIA_CANCEL_ANY = 1 << 2,
    NORIA_CQE_BUFFER = 1 << 0,
    NORIA_CQE_MORE = 1 << 1,
    NORIA_CQE_BUFFER_SHIFT = 16,
    NORIA_SQ_CQ_OVERFLOW = 1 << 1,
    NORIA_SQ_TASKRUN = 1 << 2,
    NORIA_ENTER_GETEVENTS = 1 << 0,
    NORIA_ENTER_EXT_ARG = 1 << 3,
    NORIA_ENTER_NO_IOWAIT = 1 << 7,
    NORIA_REGISTER_PROBE = 8,
    NORIA_REGISTER_RESTRICTIONS = 11,
    NORIA_REGISTER_ENABLE_RINGS = 12,
    NORIA_REGISTER_IOWQ_MAX_WORKERS = 19,
    NORIA_REGISTER_PBUF_RING = 22,
    NORIA_UNREGISTER_PBUF_RING = 23
};

#define NORIA_OFF_SQ_RING 0
#define NORIA_OFF_SQES 0x10000000LL

struct noria_sq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
    uint64_t user_addr;
};

struct noria_cq_offsets {
    uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
    uint64_t user_addr;
};

struct noria_ring_params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
    struct noria_sq_offsets sq_off;
    struct noria_cq_offsets cq_off;
};

struct noria_sqe {
    uint8_t opcode, flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t off, addr;
    uint32_t len, op_flags;
    uint64_t user_data;
    uint16_t buf_group, personality;
    int32_t file_index;
    uint64_t addr3, pad;
};

struct noria_cqe {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
};

struct noria_getevents_arg {
    uint64_t sigmask;
    uint32_t sigmask_sz, min_wait_usec;
    uint64_t ts;
};

struct noria_buffer {
    uint64_t addr;
    uint32_t len;
    uint16_t bid, tail; /* `tail` only in the first entry: what is provided so far */
};

struct noria_buffer_registration {
    uint64_t ring_addr;
    uint32_t ring_entries;
    uint16_t bgid, flags;
    uint64_t resv[3];
};

struct noria_operation_probe {
    uint8_t op, resv;
    uint16_t flags;
    uint32_t resv2;
};

struct noria_probe {
    uint8_t last_op, ops_len;
    uint16_t resv;
    uint32_t resv2[3];
    struct noria_operation_probe ops[256];
};

struct noria_restriction {
    uint16_t opcode;
    uint8_t allowed, resv;
    uint32_t resv2[3];
};

enum {
    NORIA_OPERATION_SUPPORTED = 1 << 0,
    NORIA_RESTRICTION_SQE_OP = 1,
    NORIA_RESTRICTION_SQE_FLAGS_ALLOWED = 2
};

_Static_assert(sizeof(struct noria_probe) == 16 + 256 * 8, "ABI of struct io_uring_probe");
_Static_assert(sizeof(struct noria_restriction) == 16, "ABI of struct io_uring_restriction");
_Static_assert(sizeof(struct noria_ring_params) == 120, "ABI of struct io_uring_params");
_Static_assert(sizeof(struct noria_sqe) == 64, "ABI of struct io_uring_sqe");
_Static_assert(sizeof(struct noria_cqe) == 16, "ABI of struct io_uring_cqe");
_Static_assert(sizeof(struct noria_buffer) == 16, "ABI of struct io_uring_buf");
_Static_assert(sizeof(struct noria_buffer_registration) == 40, "ABI of struct io_uring_buf_reg");

/* One ring, mapped. `tail` is what was filled in, `*sq_tail` what the kernel may see. */
struct noria_ring {
    int fd;
    uint32_t features;
    uint32_t sq_entries, sq_mask, cq_entries, cq_mask;
    uint32_t tail;
    uint32_t *sq_head, *sq_tail, *sq_flags;
    uint32_t *cq_head, *cq_tail, *cq_overflow;
    struct noria_sqe *sqes;
    struct noria_cqe *cqes;
    void *map;
    size_t map_bytes, sqes_bytes;
};

static inline uint32_t noria_load(const uint32_t *place)
{
    return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

static inline void noria_store(uint32_t *place, uint32_t value)
{
    __atomic_store_n(place, value, __ATOMIC_RELEASE);
}

static inline long noria_register(int fd, unsigned code, void *argument, unsigned count)
{
    long result = syscall(NORIA_SYS_REGISTER, fd, code, argument, count);
    return result < 0 ? -errno : result;
}

/* A ring without memory: no room, nothing completed. */
static inline void noria_ring_empty(struct noria_ring *ring)
{
    static uint32_t nothing;
    ring->sq_entries = 0;
    ring->tail = nothing = 0;
    ring->sq_head = ring->sq_tail = ring->sq_flags = &nothing;
    ring->cq_head = ring->cq_tail = ring->cq_overflow = &nothing;
    ring->sqes = NULL;
    ring->cqes = NULL;
    ring->map = NULL;
}

static inline void noria_ring_unmap(struct noria_ring *ring)
{
    if (ring->sqes != NULL) munmap(ring->sqes, ring->sqes_bytes);
    if (ring->map != NULL) munmap(ring->map, ring->map_bytes);
    noria_ring_empty(ring);
}

static inline int noria_ring_map(struct noria_ring *ring, const struct noria_ring_params *params)
{
    size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct noria_cqe);
    char *base;
    uint32_t *array;
    ring->map_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
    ring->sqes_bytes = params->sq_entries * sizeof(struct noria_sqe);
    base = mmap(NULL, ring->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd,
                NORIA_OFF_SQ_RING);
    if (base == MAP_FAILED) return -errno;
    ring->map = base;
    ring->sqes = mmap(NULL, ring->sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                      ring->fd, NORIA_OFF_SQES);
    if (ring->sqes == MAP_FAILED) {
        int failure = -errno;
        ring->sqes = NULL;
        return failure;
    }
    /* A forked child must not see what the kernel and its parent do here. */
    if (madvise(base, ring->map_bytes, MADV_DONTFORK) < 0 ||
        madvise(ring->sqes, ring->sqes_bytes, MADV_DONTFORK) < 0)
        return -errno;
    ring->sq_head = (uint32_t *)(base + params->sq_off.head);
    ring->sq_tail = (uint32_t *)(base + params->sq_off.tail);
    ring->sq_flags = (uint32_t *)(base + params->sq_off.flags);
    ring->sq_mask = *(uint32_t *)(base + params->sq_off.ring_mask);
    ring->sq_entries = params->sq_entries;
    array = (uint32_t *)(base + params->sq_off.array);
    for (uint32_t i = 0; i < params->sq_entries; i++) array[i] = i;
    ring->cq_head = (uint32_t *)(base + params->cq_off.head);
    ring->cq_tail = (uint32_t *)(base + params->cq_off.tail);
    ring->cq_overflow = (uint32_t *)(base + params->cq_off.overflow);
    ring->cq_mask = *(uint32_t *)(base + params->cq_off.ring_mask);
    ring->cq_entries = params->cq_entries;
    ring->cqes = (struct noria_cqe *)(base + params->cq_off.cqes);
    return 0;
}

/* Makes a ring that does nothing until a thread enables it, which then owns it. 0 or -errno. */
static inline int noria_ring_create(struct noria_ring *ring, unsigned entries, unsigned completions)
{
    struct noria_ring_params params;
    const uint32_t needed = NORIA_FEAT_SINGLE_MMAP | NORIA_FEAT_NODROP | NORIA_FEAT_SUBMIT_STABLE |
                            NORIA_FEAT_EXT_ARG | NORIA_FEAT_CQE_SKIP;
    int result;
    memset(ring, 0, sizeof *ring);
    memset(&params, 0, sizeof params);
    params.cq_entries = completions;
    params.flags = NORIA_SETUP_CQSIZE | NORIA_SETUP_CLAMP | NORIA_SETUP_R_DISABLED |
                   NORIA_SETUP_SUBMIT_ALL | NORIA_SETUP_TASKRUN_FLAG | NORIA_SETUP_SINGLE_ISSUER |
                   NORIA_SETUP_DEFER_TASKRUN;
    ring->fd = (int)syscall(NORIA_SYS_SETUP, entries, &params);
    if (ring->fd < 0) {
        result = -errno;
        ring->fd = -1;
        return result;
    }
    ring->features = params.features;
    result = (params.features & needed) == needed ? noria_ring_map(ring, &params) : -EINVAL;
    if (result < 0) {
        noria_ring_unmap(ring);
        close(ring->fd);
        ring->fd = -1;
    }
    return result;
}

/* Whether the kernel knows an operation (io_uring_register(2), IORING_REGISTER_PROBE). */
static inline int noria_ring_supports(const struct noria_ring *ring, int operation)
{
    struct noria_probe probe;
    memset(&probe, 0, sizeof probe);
    if (noria_register(ring->fd, NORIA_REGISTER_PROBE, &probe, 256) < 0) return 0;
    return operation <= probe.last_op && probe.ops[operation].flags & NORIA_OPERATION_SUPPORTED;
}

/* Bounds the kernel's threads for requests that block, those on files and the others each. */
static inline long noria_ring_bound_workers(const struct noria_ring *ring, uint32_t most)
{
    uint32_t bounds[2] = {most, most};
    return noria_register(ring->fd, NORIA_REGISTER_IOWQ_MAX_WORKERS, bounds, 2);
}

/* Lets a ring that is not enabled yet do nothing but receive, send, poll and cancel from then on,
 * and register nothing more. 0 or -errno. */
static inline long noria_ring_restrict(const struct noria_ring *ring)
{
    static const uint8_t operations[] = {NORIA_OP_RECV, NORIA_OP_SEND, NORIA_OP_POLL_ADD,
                                         NORIA_OP_ASYNC_CANCEL};
    struct noria_restriction restrictions[sizeof operations + 1];
    unsigned count = 0;
    memset(restrictions, 0, sizeof restrictions);
    for (; count < sizeof operations; count++) {
        restrictions[count].opcode = NORIA_RESTRICTION_SQE_OP;
        restrictions[count].allowed = operations[count];
    }
    restrictions[count].opcode = NORIA_RESTRICTION_SQE_FLAGS_ALLOWED;
    restrictions[count].allowed = NORIA_SQE_BUFFER_SELECT | NORIA_SQE_CQE_SKIP_SUCCESS;
    return noria_register(ring->fd, NORIA_REGISTER_RESTRICTIONS, restrictions, count + 1);
}

/* Entries that are filled in and that the kernel has not taken. */
static inline uint32_t noria_ring_queued(const struct noria_ring *ring)
{
    return ring->tail - noria_load(ring->sq_head);
}

static inline struct noria_sqe *noria_ring_entry(struct noria_ring *ring)
{
    struct noria_sqe *entry;
    if (noria_ring_queued(ring) >= ring->sq_entries) return NULL;
    entry = &ring->sqes[ring->tail & ring->sq_mask];
    ring->tail++;
    memset(entry, 0, sizeof *entry);
    return entry;
}

static inline uint32_t noria_ring_completed(const struct noria_ring *ring)
{
    return noria_load(ring->cq_tail) - *ring->cq_head;
}

/* Whether a completion not looked at before, and not taken yet, has `bit` set in its user data. */
static inline int noria_ring_has_bit(const struct noria_ring *ring, uint32_t *looked_at,
                                     uint64_t bit, uint64_t least)
{
    uint32_t tail = noria_load(ring->cq_tail), head = *ring->cq_head;
    uint32_t from = tail - *looked_at < tail - head ? *looked_at : head;
    *looked_at = tail;
    for (; from != tail; from++) {
        uint64_t data = ring->cqes[from & ring->cq_mask].user_data;
        if (data >= least && data & bit) return 1;
    }
    return 0;
}

/* Whether the last completion of a request is there, not taken yet. */
static inline int noria_ring_has_last(const struct noria_ring *ring, uint64_t data)
{
    uint32_t tail = noria_load(ring->cq_tail);
    for (uint32_t at = *ring->cq_head; at != tail; at++) {
        const struct noria_cqe *completion = &ring->cqes[at & ring->cq_mask];
        if (completion->user_data == data && !(completion->flags & NORIA_CQE_MORE)) return 1;
    }
    return 0;
}

/* Whether the kernel keeps completions for which there was no room. */
static inline int noria_ring_overflowed(const struct noria_ring *ring)
{
    return (noria_load(ring->sq_flags) & NORIA_SQ_CQ_OVERFLOW) != 0;
}

/* Whether the kernel has completions that it will only hand over to a call. */
static inline int noria_ring_pending(const struct noria_ring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) &
            (NORIA_SQ_CQ_OVERFLOW | NORIA_SQ_TASKRUN)) != 0;
}

static inline int noria_ring_call(struct noria_ring *ring, unsigned wanted, long long timeout_ns)
{
    struct noria_getevents_arg argument;
    struct noria_timespec timeout;
    uint32_t submitted;
    unsigned flags = NORIA_ENTER_GETEVENTS | NORIA_ENTER_EXT_ARG;
    long result;
    memset(&argument, 0, sizeof argument);
    if (wanted && timeout_ns >= 0) {
        timeout = noria_timespec_of(timeout_ns);
        argument.ts = (uint64_t)(uintptr_t)&timeout;
    }
    if (wanted && ring->features & NORIA_FEAT_NO_IOWAIT) flags |= NORIA_ENTER_NO_IOWAIT;
    submitted = noria_ring_queued(ring);
    noria_store(ring->sq_tail, ring->tail);
    result = syscall(NORIA_SYS_ENTER, ring->fd, submitted, wanted, flags, &argument,
                     sizeof argument);
    return result < 0 ? -errno : (int)result;
}

/* Submits what is queued and leaves completions where they are. */
static inline int noria_ring_submit(struct noria_ring *ring)
{
    uint32_t submitted = noria_ring_queued(ring);
    long result;
    noria_store(ring->sq_tail, ring->tail);
    result = syscall(NORIA_SYS_ENTER, ring->fd, submitted, 0, 0, NULL, 0);
    return result < 0 ? -errno : (int)result;
}

/* Submits what is queued; waits for one completion, at most `timeout_ns` (-1: for ever, 0: not).
 * Returns what io_uring_enter(2) did, -ETIME included. */
static inline int noria_ring_enter(struct noria_ring *ring, long long timeout_ns,
                                   long long slack_ns)
{
    long long until_ns, left_ns;
    int result;
    if (timeout_ns == 0 || noria_ring_completed(ring)) return noria_ring_call(ring, 0, 0);
    if (timeout_ns < 0) return noria_ring_call(ring, 1, -1);
    slack_ns = noria_lead_ns(timeout_ns, slack_ns);
    if (timeout_ns <= slack_ns) return noria_ring_call(ring, 1, timeout_ns);
    until_ns = noria_now_ns() + timeout_ns;
    result = noria_ring_call(ring, 1, timeout_ns - slack_ns);
    /* A call that submitted something does not say how its wait ended. */
    if ((result < 0 && result != -ETIME) || noria_ring_completed(ring)) return result;
    left_ns = until_ns - noria_now_ns();
    if (left_ns <= 0 || left_ns > slack_ns) return result;
    return noria_ring_call(ring, 1, left_ns);
}

/* A group of buffers that receives choose from (io_uring_provided_buffers(7)). */
struct noria_group {
    struct noria_buffer *entries;
    char *memory;
    uint32_t count, size, mask;
    uint16_t tail;
};

static inline void noria_group_empty(struct noria_group *group)
{
    group->entries = NULL;
    group->memory = NULL;
    group->count = 0;
}

static inline void noria_group_unmap(struct noria_group *group)
{
    if (group->entries != NULL) munmap(group->entries, group->count * sizeof *group->entries);
    if (group->memory != NULL) munmap(group->memory, (size_t)group->count * group->size);
    noria_group_empty(group);
}

static inline void *noria_group_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    /* The kernel pins the entries: a fork would leave it with pages that are not ours any more. */
    if (madvise(memory, bytes, MADV_DONTFORK) < 0) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

/* `count` has to be a power of two. 0 or -errno. */
static inline int noria_group_create(struct noria_group *group, int ring_fd, int number,
                                     uint32_t count, uint32_t size)
{
    struct noria_buffer_registration registration;
    long result;
    memset(group, 0, sizeof *group);
    group->count = count;
    group->size = size;
    group->mask = count - 1;
    group->entries = noria_group_map(count * sizeof *group->entries);
    group->memory = noria_group_map((size_t)count * size);
    if (group->entries == NULL || group->memory == NULL) {
        noria_group_unmap(group);
        return -ENOMEM;
    }
    memset(&registration, 0, sizeof registration);
    registration.ring_addr = (uint64_t)(uintptr_t)group->entries;
    registration.ring_entries = count;
    registration.bgid = (uint16_t)number;
    result = noria_register(ring_fd, NORIA_REGISTER_PBUF_RING, &registration, 1);
    if (result < 0) noria_group_unmap(group);
    return (int)result;
}

static inline void noria_group_add(struct noria_group *group, uint32_t buffer)
{
    struct noria_buffer *entry = &group->entries[group->tail & group->mask];
    entry->addr = (uint64_t)(uintptr_t)(group->memory + (size_t)buffer * group->size);
    entry->len = group->size;
    entry->bid = (uint16_t)buffer;
    group->tail++;
}

static inline void noria_group_publish(struct noria_group *group)
{
    if (group->entries != NULL)
        __atomic_store_n(&group->entries[0].tail, group->tail, __ATOMIC_RELEASE);
}

#endif
