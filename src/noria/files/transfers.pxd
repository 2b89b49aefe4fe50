cimport cython
from noria.files.file cimport File
from noria.files.operation cimport FileOperation, Pending
from noria.native cimport calls
from noria.native cimport files as native

cdef int _READ_AT
cdef int _READ_INTO_AT
cdef int _READ_VECTOR_AT
cdef int _WRITE_AT
cdef int _EIO
cdef int _ECANCELED
cdef int _PARTS_MAX
cdef int _WRITING


cdef class FileTransfer(FileOperation):
    cdef public File file
    cdef public int kind
    cdef public long long first
    cdef public long long began_ns
    cdef public object ways

    cdef object _open(self, File file, int code, long long offset, int kind)
    cpdef Pending start(self)
    cpdef object left(self)
    cpdef object exception_of(self, long long result)


cdef class PlainTransfer(FileTransfer):
    cpdef int advance(self, long long result, object data) except? -1


cdef class ReadTransfer(FileTransfer):
    cdef list parts

    cdef object read(self, File file, Py_ssize_t size, long long offset, int kind)
    cpdef int advance(self, long long result, object data) except? -1
    cdef object _give(self, object last)


cdef class ReadIntoTransfer(FileTransfer):
    cdef public object view

    cdef object read_into(self, File file, object view, long long offset, int kind)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object left(self)


cdef class PooledReadTransfer(ReadIntoTransfer):
    cdef object memory

    cdef object read_pooled(self, File file, object memory, Py_ssize_t size, long long offset, int kind)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object left(self)


cdef class WriteTransfer(FileTransfer):
    cdef object view
    cdef bint whole

    cdef object write(self, File file, object data, long long offset, int kind, bint whole)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object left(self)


cdef class VectorTransfer(FileTransfer):
    cdef list rest
    cdef Py_ssize_t total

    @cython.locals(left=cython.longlong, index=Py_ssize_t)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object left(self)


cdef class ForceTransfer(FileTransfer):
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object exception_of(self, long long result)


cdef class CloseOperation(FileOperation):
    cpdef Pending start(self)
    cpdef int advance(self, long long result, object data) except? -1
    cpdef object deliver(self, long long result, int flags, object data)
    cpdef object discard(self, long long result, object data)
    cdef object _close_if_cancelled(self, long long result)
