cimport cython
from noria.core.buffer cimport lend_readable, lend_writable
from noria.core.clock cimport MonotonicClock
from noria.core.descriptor cimport Descriptor
from noria.files.host cimport Host
from noria.files.operation cimport FileOperation, Settled, settled
from noria.files.transfers cimport FileTransfer, PooledReadTransfer, ReadIntoTransfer, ReadTransfer, WriteTransfer
from noria.files.ways cimport Ways
from noria.native cimport files as native
from noria.native cimport views

cdef int _EOPNOTSUPP
cdef int _DIRECT
cdef int _NATIVE
cdef int _BACKEND
cdef int _READING
cdef int _ALONE
cdef int _WRITING
cdef int _MEASURED
cdef int _BY_THREAD
cdef int _HITS_MAX
cdef int _LUCK_MAX
cdef int _LUCK_MIN
cdef int _LOOK_EVERY
cdef Py_ssize_t _LOOK_MAX
cdef MonotonicClock _clock


cdef class File:
    cdef object __weakref__
    cdef public Host host
    cdef public Descriptor descriptor
    cdef public int fd
    cdef public object name
    cdef public object filesystem
    cdef public tuple ways
    cdef public int alignment
    cdef public bint closefd
    cdef public bint can_read
    cdef public bint can_write
    cdef public bint appending
    cdef public bint plain
    cdef public bint looks
    cdef public int luck
    cdef public int left_out
    cdef public object pool
    cdef public int sync_errno
    cdef public Py_ssize_t in_flight
    cdef public object turns
    cdef public long long hits
    cdef public long long done_native
    cdef public long long done_backend
    cdef public long long bytes_read
    cdef public long long bytes_written
    cdef public object _closing
    cdef public list _idle

    @cython.locals(count=Py_ssize_t, transfer=ReadTransfer)
    cpdef object read_at(self, Py_ssize_t size, long long offset)
    @cython.locals(count=cython.longlong, size=Py_ssize_t, transfer=ReadIntoTransfer)
    cpdef object readinto_at(self, object buffer, long long offset)
    @cython.locals(size=Py_ssize_t, transfer=WriteTransfer)
    cpdef object write_at(self, object data, long long offset)
    @cython.locals(host=Host, pausing=bint)
    cdef Settled _hit(self, object outcome, long long count)
    @cython.locals(transfer=PooledReadTransfer)
    cdef object _read_direct(self, Py_ssize_t size, long long offset)
    cdef object _vector(self, int code, list views, long long offset, int kind)
    cdef object _force(self, int code)
    cpdef bint _closes_quickly(self)
    cpdef object _release(self)
    @cython.locals(ways=Ways)
    cpdef object choose_way(self, FileTransfer op)
    @cython.locals(idle=list, ways=Ways)
    cpdef object over(self, FileTransfer op)
    cpdef bint ends(self, long long moved)
    cdef bint _look_again(self) except -1
    cdef object _look_no_more(self)
    cpdef object _check(self, bint able, long long size, long long offset, str what)
