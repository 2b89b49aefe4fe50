cimport cython
from noria.core.operation cimport Operation
from noria.disk.interface cimport DiskBackend
from noria.native cimport crew as native
from noria.native.crew cimport Crew, Job

cdef int _EINVAL
cdef int _EIO
cdef int _WAITING
cdef int _DIRECT
cdef int _WAIT_CHILD
cdef int _CODES
cdef int _READ_AT
cdef int _ADVISE
cdef int _WRITE_FILE
cdef int _OPEN_FILE
cdef int _READ_VECTOR_AT
cdef int _WRITE_VECTOR_AT
cdef int _PARTS_MAX
cdef int _NAMED
cdef int _DATA
cdef bytearray _groups
cdef dict _rows


cdef class ThreadBackend(DiskBackend):
    cdef Crew _crew
    cdef object _data
    cdef object _names
    cdef object _waiting
    cdef long long _submitted
    cdef bint _closed

    @cython.locals(job=Job, failure=int, advice=int, group=int)
    cpdef int submit(self, Operation op) except? -1
    cpdef bint flush(self, bint patient=*) except -1
    cpdef object reap(self, list done, int count)
    @cython.locals(job=Job, op=Operation, result=cython.longlong)
    cdef object _reap_jobs(self, list done, int count)
    cdef object _give_up(self, list running, list done)
    cdef object _python_crew(self, str name, int threads_max)
    cdef list _python_crews(self)
