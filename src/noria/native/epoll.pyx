"""An epoll set (epoll(7)) with waits in nanoseconds where the kernel has epoll_pwait2(2)."""

from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.string cimport memset
from noria.native cimport calls

cdef extern from *:
    """
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    #include <errno.h>
    #include <stdint.h>
    #include <unistd.h>

    #include "noria/native/punctual.h"

    #ifndef SYS_epoll_pwait2
    #define SYS_epoll_pwait2 441
    #endif

    static int noria_precise_wait(int fd, struct epoll_event *events, int capacity,
                                  long long timeout_ns) {
        struct noria_timespec timeout = noria_timespec_of(timeout_ns);
        return (int)syscall(SYS_epoll_pwait2, fd, events, capacity, &timeout, NULL, 0);
    }

    static int noria_punctual_wait(int fd, struct epoll_event *events, int capacity,
                                   long long timeout_ns, long long slack_ns) {
        long long left_ns, until_ns;
        int result;
        slack_ns = noria_lead_ns(timeout_ns, slack_ns);
        if (timeout_ns <= slack_ns)
            return noria_precise_wait(fd, events, capacity, timeout_ns);
        until_ns = noria_now_ns() + timeout_ns;
        result = noria_precise_wait(fd, events, capacity, timeout_ns - slack_ns);
        if (result != 0 || (left_ns = until_ns - noria_now_ns()) <= 0) return result;
        return noria_precise_wait(fd, events, capacity, left_ns);
    }

    static int noria_epoll_wait(int fd, struct epoll_event *events, int capacity,
                                long long timeout_ns, int precise, long long slack_ns) {
        int result;
        if (timeout_ns <= 0 || !precise) {
            int milliseconds = timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000);
            result = epoll_wait(fd, events, capacity, milliseconds);
        } else {
            result = noria_punctual_wait(fd, events, capacity, timeout_ns, slack_ns);
        }
        return result < 0 ? -errno : result;
    }

    static int noria_epoll_control(int fd, int operation, int target, uint32_t tag,
                                   uint32_t events) {
        struct epoll_event event = {0};
        event.events = events;
        event.data.u64 = (uint64_t)tag << 32 | (uint32_t)target;
        return epoll_ctl(fd, operation, target, &event) < 0 ? -errno : 0;
    }

    static int noria_epoll_create(void) {
        int fd = epoll_create1(EPOLL_CLOEXEC);
        return fd < 0 ? -errno : fd;
    }

    static inline int noria_event_fd(const void *events, int index) {
        return (int)(uint32_t)((const struct epoll_event *)events)[index].data.u64;
    }

    static inline uint32_t noria_event_tag(const void *events, int index) {
        return (uint32_t)(((const struct epoll_event *)events)[index].data.u64 >> 32);
    }

    static inline uint32_t noria_event_mask(const void *events, int index) {
        return ((const struct epoll_event *)events)[index].events;
    }
    """
    struct epoll_event:
        pass
    enum:
        EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EBADF, EINTR
    int noria_epoll_wait(int fd, epoll_event *events, int capacity, long long timeout_ns,
                         int precise, long long slack_ns) nogil
    long long noria_slack_ns()
    long long noria_now_ns()
    int noria_epoll_control(int fd, int operation, int target, unsigned int tag,
                            unsigned int events)
    int noria_epoll_create()
    int noria_event_fd(void *events, int index)
    unsigned int noria_event_tag(void *events, int index)
    unsigned int noria_event_mask(void *events, int index)
    int close_fd "close"(int fd)


cdef class EpollSet:
    """One epoll set and the news of its last wait.

    Every registration carries a tag beside its number. A registration belongs to the open file and
    may outlive its number; its news then bear a tag that is not the number's any more.
    """

    def __cinit__(self, int capacity):
        self._fd = -1
        self._tags = NULL
        self.count = 0
        self._capacity = capacity
        self._events = PyMem_Malloc(capacity * sizeof(epoll_event))
        if self._events == NULL:
            raise MemoryError
        self._fd = noria_epoll_create()
        if self._fd < 0:
            code = -self._fd
            self._fd = -1
            raise OSError(code, "epoll_create1 failed")
        # Kernels before 5.11 have no epoll_pwait2, and some sandboxes refuse it: ask once.
        self._precise = noria_epoll_wait(self._fd, <epoll_event *>self._events, 1, 1, 1, 0) >= 0
        self._slack_ns = noria_slack_ns()

    def __dealloc__(self):
        if self._fd >= 0:
            close_fd(self._fd)
        PyMem_Free(self._events)
        PyMem_Free(self._tags)

    def fileno(self):
        """Descriptor of the set itself, -1 once closed."""
        return self._fd

    def precise(self):
        """Whether waits are finer than a millisecond."""
        return self._precise

    cpdef int add(self, int fd, unsigned int events) except? -1:
        """Register a descriptor; 0 or minus errno (EPOLL_CTL_ADD)."""
        cdef unsigned int tag
        cdef int result
        if fd < 0:
            return -EBADF
        if fd >= self._tags_count:
            self._reserve(fd)
        tag = self._new_tag()
        result = noria_epoll_control(self._fd, EPOLL_CTL_ADD, fd, tag, events)
        if result == 0:
            self._tags[fd] = tag
        return result

    cpdef int modify(self, int fd, unsigned int events) except? -1:
        """Change a registration; 0 or minus errno (EPOLL_CTL_MOD)."""
        if fd < 0:
            return -EBADF
        if fd >= self._tags_count:
            self._reserve(fd)
        return noria_epoll_control(self._fd, EPOLL_CTL_MOD, fd, self._tags[fd], events)

    cpdef int remove(self, int fd) except? -1:
        """Drop a registration; 0 or minus errno (EPOLL_CTL_DEL)."""
        if 0 <= fd < self._tags_count:
            self._tags[fd] = 0
        return noria_epoll_control(self._fd, EPOLL_CTL_DEL, fd, 0, 0)

    cdef int _reserve(self, int fd) except -1:
        """Make room for the tag of a number."""
        cdef int count = max(fd + 1, 2 * self._tags_count, 64)
        cdef void *tags = PyMem_Realloc(self._tags, count * sizeof(unsigned int))
        if tags == NULL:
            raise MemoryError
        self._tags = <unsigned int *>tags
        memset(self._tags + self._tags_count, 0,
               (count - self._tags_count) * sizeof(unsigned int))
        self._tags_count = count
        return 0

    cdef unsigned int _new_tag(self):
        """Give a tag that has not been used for a long time; 0 is nobody's."""
        self._last_tag += 1
        if self._last_tag == 0:
            self._last_tag = 1
        return self._last_tag

    cpdef int wait(self, long long timeout_ns) except? -1:
        """Wait for news, at most `timeout_ns` (-1 for ever); how many there are.

        Other threads run meanwhile. What interrupts the wait does not end it, unless it is a signal
        whose Python handler raises: that comes out here. (The kernel interrupts threads for reasons
        of its own too, such as the end of a ring that was closed.)
        """
        cdef int result
        cdef long long until_ns = noria_now_ns() + timeout_ns if timeout_ns > 0 else 0
        self.count = 0
        while True:
            with nogil:
                result = noria_epoll_wait(
                    self._fd, <epoll_event *>self._events, self._capacity, timeout_ns,
                    self._precise, self._slack_ns,
                )
            if result != -EINTR:
                break
            calls.check_signals()
            if timeout_ns >= 0:
                timeout_ns = until_ns - noria_now_ns()
                if timeout_ns <= 0:
                    return 0
        if result < 0:
            raise OSError(-result, "epoll_wait failed")
        self.count = result
        return result

    cpdef int fd_at(self, int index) noexcept:
        """Descriptor of one piece of news; -1 if its registration has outlived the number."""
        cdef int fd = noria_event_fd(self._events, index)
        return fd if noria_event_tag(self._events, index) == self._tags[fd] else -1

    cpdef unsigned int events_at(self, int index) noexcept:
        """Events of one piece of news."""
        return noria_event_mask(self._events, index)

    def close(self):
        """Close the set. Idempotent."""
        if self._fd >= 0:
            close_fd(self._fd)
            self._fd = -1
