cimport cython
from noria.core.completion cimport Completions
from noria.core.operation cimport Operation
from noria.disk.disk cimport Disk
from noria.engines.registrations cimport Registrations

cdef int _EINVAL
cdef int _IDLE
cdef int _BACKEND
cdef int _READABLE
cdef int _ENTRIES_MAX


cdef class Offload(Registrations):
    cdef public long long offloaded
    cdef Disk _disk
    cdef object _disk_choice
    cdef int _disk_fd
    cdef bint _rung
    cdef list _reaped
    cdef long long _offload_in_flight

    @cython.locals(disk=Disk, failure=int)
    cdef bint _submit_offload(self, Operation op) except? -1
    cdef Disk _used_disk(self)
    cdef object _make_disk(self)
    cdef int _watch_disk(self) except? -1000
    @cython.locals(disk=Disk)
    cdef bint _flush_disk(self, bint patient) except -1
    @cython.locals(disk=Disk)
    cdef object _reap(self, Completions batch)
    @cython.locals(reaped=list, op=Operation, result=cython.longlong)
    cdef object _settle_reaped(self, Completions batch)
    cdef object _no_ring(self)
    cdef object _close_disk(self, Completions batch)
