cimport cython
from noria.core.operation cimport Operation
from noria.disk.interface cimport DiskBackend
from noria.disk.threads cimport ThreadBackend

cdef int _DATA
cdef int _DIRECT
cdef int _BY_THREAD
cdef int _CODES
cdef int _FRACTION


@cython.final
cdef class Disk:
    cdef object _wake
    cdef object _reason
    cdef object _choice
    cdef bint _forced
    cdef int _bell
    cdef DiskBackend _native
    cdef bytearray _native_codes
    cdef long long _to_native
    cdef long long _in_flight
    cdef int _gathered
    cdef bint _hastens
    cdef long long _to_threads
    cdef bint _lasting
    cdef bint _closed
    cdef ThreadBackend _threads

    cpdef int submit(self, Operation op) except? -1
    @cython.locals(failure=int)
    cdef int _submit_native(self, Operation op) except? -1
    cdef bint _takes(self, Operation op) except -1
    cpdef object cancel(self, Operation op)
    @cython.locals(ready=bint)
    cpdef bint flush(self, bint patient=*) except -1
    @cython.locals(before=Py_ssize_t)
    cpdef object reap(self, list done, int count)
    cpdef int fileno(self) except? -1
    cdef object _try_native(self)
    cdef object _make_native(self)
    cdef object _close_bell(self)
