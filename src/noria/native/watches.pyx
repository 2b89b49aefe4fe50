"""Watches of files and directories by inotify(7), which the standard library does not have."""

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/inotify.h>
    #include <stdint.h>

    static int noria_watch_open(void) {
        int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }

    static int noria_watch_add(int fd, const char *name, uint32_t mask) {
        int watch = inotify_add_watch(fd, name, mask);
        return watch < 0 ? -errno : watch;
    }

    static int noria_watch_remove(int fd, int watch) {
        return inotify_rm_watch(fd, watch) < 0 ? -errno : 0;
    }
    """
    int noria_watch_open() nogil
    int noria_watch_add(int fd, const char *name, unsigned int mask) nogil
    int noria_watch_remove(int fd, int watch) nogil


cpdef int watch_open() except? -1:
    """Make an inotify instance that does not block: its descriptor, or minus errno."""
    return noria_watch_open()


cpdef int watch_add(int fd, bytes name, unsigned int mask) except? -1:
    """Add a watch, or change the one of the same file: its number, or minus errno.

    The name is looked up without the interpreter lock, for that may wait for a disk.
    """
    cdef int result
    if b"\0" in name:
        raise ValueError("embedded null byte")
    cdef const char *text = name
    with nogil:
        result = noria_watch_add(fd, text, mask)
    return result


cpdef int watch_remove(int fd, int watch) except? -1:
    """Remove a watch; 0 or minus errno."""
    return noria_watch_remove(fd, watch)
