cimport cython
from noria.engines.interface cimport NewsSink, Poller
from noria.native cimport epoll as native

cdef unsigned int _IN
cdef unsigned int _PRI
cdef unsigned int _OUT
cdef unsigned int _RDHUP
cdef unsigned int _GONE
cdef unsigned int _ET
cdef int _READABLE
cdef int _WRITABLE
cdef int _HANGUP
cdef int _STOPS_SHORT
cdef int _EEXIST
cdef int _ENOENT
cdef int _EMFILE


cdef class EpollPoller(Poller):
    cdef native.EpollSet _set

    @cython.locals(events=cython.uint, result=int)
    cpdef int modify(self, int fd, int old, int new, bint level) except? -1
    @cython.locals(count=int, index=int, events=cython.uint, ready=int)
    cpdef int wait(self, long long timeout_ns, NewsSink sink) except -1
