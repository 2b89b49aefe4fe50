/* One job of a crew, and the call that it is; see crew.pyx. */

#ifndef NORIA_JOB_H
#define NORIA_JOB_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "noria/native/transfer.h"

enum { NORIA_IDLE_JOB, NORIA_QUEUED, NORIA_WAITING, NORIA_RUNNING, NORIA_DONE };

struct noria_job {
    struct noria_job *next, *before;
    void *owner;
    int kind, fd, parts, advice, beside;
    const char *name, *second;
    void *memory;
    size_t size;
    long long offset, result;
    unsigned long long device; /* of what was opened, and its mode */
    unsigned int mode;
    int state;
};

/* Open a name; what may keep waiting for somebody else is not opened: ENXIO. */
static inline int noria_open_quickly(const struct noria_job *job) {
    struct stat found;
    if (stat(job->name, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) {
        errno = ENXIO; /* a FIFO's reader would take its opening for the end */
        return -1;
    }
    return open(job->name, job->advice | O_NONBLOCK | O_CLOEXEC, (mode_t)job->offset);
}

static inline long long noria_open_file(struct noria_job *job) {
    struct stat found;
    int failure = 0;
    int fd = noria_open_quickly(job);
    if (fd < 0) return -1;
    if (fstat(fd, &found) < 0) failure = errno;
    else if (S_ISDIR(found.st_mode)) failure = EISDIR;
    else if (!(job->advice & O_NONBLOCK) && fcntl(fd, F_SETFL, job->advice) < 0) failure = errno;
    if (failure) {
        close(fd);
        errno = failure;
        return -1;
    }
    job->device = found.st_dev;
    job->mode = found.st_mode;
    return fd;
}

static inline long long noria_write_file(struct noria_job *job) {
    struct stat found;
    size_t done = 0;
    int kept = 0;
    int fd = noria_open_quickly(job);
    if (fd < 0) return -1;
    if (fstat(fd, &found) < 0) kept = errno;
    else if (!S_ISREG(found.st_mode)) kept = ENXIO;
    while (!kept && done < job->size) {
        ssize_t count = write(fd, (char *)job->memory + done, job->size - done);
        if (count >= 0) done += count;
        else if (errno != EINTR) kept = errno;
    }
    if (close(fd) < 0 && errno != EINTR && !kept) kept = errno;
    if (!kept) return done;
    errno = kept == EINTR ? EIO : kept;
    return -1;
}

static inline int noria_change_names(const struct noria_job *job) {
    int start = job->fd < 0 ? AT_FDCWD : job->fd;
    switch (job->kind) {
    case NORIA_UNLINK: return unlinkat(start, job->name, 0);
    case NORIA_REMOVE_DIRECTORY: return unlinkat(start, job->name, AT_REMOVEDIR);
    case NORIA_MAKE_DIRECTORY: return mkdirat(start, job->name, (mode_t)job->offset);
    case NORIA_RENAME: return renameat(start, job->name, start, job->second);
    case NORIA_LINK: return linkat(start, job->name, start, job->second, 0);
    case NORIA_SYMLINK: return symlinkat(job->name, start, job->second);
    }
    errno = ENOSYS;
    return -1;
}

static inline long long noria_call_once(struct noria_job *job) {
    switch (job->kind) {
    case NORIA_READ:
    case NORIA_READ_INTO: return pread(job->fd, job->memory, job->size, job->offset);
    case NORIA_WRITE: return pwrite(job->fd, job->memory, job->size, job->offset);
    case NORIA_WRITE_FILE: return noria_write_file(job);
    case NORIA_OPEN_FILE: return noria_open_file(job);
    case NORIA_FSYNC: return fsync(job->fd);
    case NORIA_TRUNCATE: return ftruncate(job->fd, job->offset);
    case NORIA_CLOSE: /* closed all the same when it was interrupted */
        return close(job->fd) < 0 && errno != EINTR ? -1 : 0;
#ifdef __linux__
    case NORIA_DATASYNC: return fdatasync(job->fd);
    case NORIA_READ_VECTOR: return preadv(job->fd, job->memory, job->parts, job->offset);
    case NORIA_WRITE_VECTOR: return pwritev(job->fd, job->memory, job->parts, job->offset);
    case NORIA_ALLOCATE:
        errno = posix_fallocate(job->fd, job->offset, job->size);
        return errno ? -1 : 0;
    case NORIA_ADVISE:
        errno = posix_fadvise(job->fd, job->offset, job->size, job->advice);
        return errno ? -1 : 0;
#endif
    }
    return noria_change_names(job);
}

static inline long long noria_call(struct noria_job *job) {
    long long result;
    do { result = noria_call_once(job); } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

#endif
