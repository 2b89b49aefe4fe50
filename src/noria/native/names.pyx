# cython: boundscheck=False, wraparound=False
"""Calls on names that the standard library has not (openat2(2), statx(2), renameat2(2)).

A name is looked up in the kernel's cache of names only, and opened as a mere place (O_PATH). What
is told of it is what the kernel holds (AT_STATX_DONT_SYNC): no server is asked. The interpreter
lock is kept meanwhile, since nothing of this waits.
"""

from os import stat_result

cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <string.h>
    #ifdef __linux__
    #include <fcntl.h>
    #include <sys/syscall.h>
    #include <sys/sysmacros.h>
    #include <unistd.h>
    #ifndef O_PATH
    #define O_PATH 010000000
    #endif
    #endif

    /* struct statx of statx(2), which not every C library declares; its layout is the kernel's. */
    struct noria_time { int64_t seconds; uint32_t nanoseconds; int32_t unused; };
    struct noria_statx {
        uint32_t mask, block_bytes;
        uint64_t attributes;
        uint32_t links, user, group;
        uint16_t mode, unused;
        uint64_t inode, size, blocks, attributes_mask;
        struct noria_time accessed, born, changed, modified;
        uint32_t own_major, own_minor, major, minor;
        uint64_t spare[14];
    };

    static int noria_stat_now(const char *name, int follow, struct noria_statx *found) {
    #if defined(__linux__) && defined(SYS_openat2) && defined(SYS_statx)
        struct { uint64_t flags, mode, resolve; } how = {
            O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW), 0, 0x20 /* RESOLVE_CACHED */};
        long fd = syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof how);
        long result;
        if (fd < 0)
            return -errno;
        result = syscall(SYS_statx, (int)fd, "", 0x1000 /* AT_EMPTY_PATH */ |
                         0x4000 /* AT_STATX_DONT_SYNC */, 0x7ff /* STATX_BASIC_STATS */, found);
        result = result < 0 ? -errno : 0;
        close((int)fd);
        return (int)result;
    #else
        return -ENOSYS;
    #endif
    }

    static unsigned long long noria_device(uint32_t major_number, uint32_t minor_number) {
    #ifdef __linux__
        return makedev(major_number, minor_number);
    #else
        return 0;
    #endif
    }

    static int noria_rename(const char *source, const char *target, int source_fd, int target_fd,
                            unsigned flags) {
    #if defined(__linux__) && defined(SYS_renameat2)
        long result = syscall(SYS_renameat2, source_fd < 0 ? AT_FDCWD : source_fd, source,
                              target_fd < 0 ? AT_FDCWD : target_fd, target, flags);
        return result < 0 ? -errno : 0;
    #else
        return -ENOSYS;
    #endif
    }
    """
    struct noria_time:
        long long seconds
        unsigned int nanoseconds
    struct noria_statx:
        unsigned int block_bytes, links, user, group, own_major, own_minor, major, minor
        unsigned short mode
        unsigned long long inode, size, blocks
        noria_time accessed, changed, modified
    int noria_stat_now(const char *name, int follow, noria_statx *found) nogil
    unsigned long long noria_device(unsigned int major_number, unsigned int minor_number) nogil
    int noria_rename(
        const char *source, const char *target, int source_fd, int target_fd, unsigned int flags
    ) nogil


cdef double seconds_of(noria_time when):
    return when.seconds + 1e-9 * when.nanoseconds


cdef object nanoseconds_of(noria_time when):
    return when.seconds * 1_000_000_000 + when.nanoseconds


cpdef object stat_now(bytes name, bint follow):
    """Tell of a name what can be told without waiting: an os.stat_result, or minus errno.

    -ENOENT if it is cached that there is no such name, -EAGAIN if something is not cached, -ENOSYS
    where that cannot be asked for.
    """
    cdef noria_statx found
    cdef int failure
    if b"\0" in name:
        raise ValueError("embedded null byte")
    failure = noria_stat_now(name, follow, &found)
    if failure:
        return failure
    return stat_result((
        found.mode,
        found.inode,
        noria_device(found.major, found.minor),
        found.links,
        found.user,
        found.group,
        found.size,
        found.accessed.seconds,
        found.modified.seconds,
        found.changed.seconds,
        seconds_of(found.accessed),
        seconds_of(found.modified),
        seconds_of(found.changed),
        nanoseconds_of(found.accessed),
        nanoseconds_of(found.modified),
        nanoseconds_of(found.changed),
        found.block_bytes,
        found.blocks,
        noria_device(found.own_major, found.own_minor),
    ))


cpdef int rename_flags(
    bytes source, bytes target, int source_fd, int target_fd, unsigned int flags
) except? -1:
    """Rename with flags (renameat2(2)); 0 or minus errno. It may block."""
    cdef const char *old
    cdef const char *new
    cdef int result
    if b"\0" in source or b"\0" in target:
        raise ValueError("embedded null byte")
    old = source
    new = target
    with nogil:
        result = noria_rename(old, new, source_fd, target_fd, flags)
    return result
