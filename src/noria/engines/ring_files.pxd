cimport cython
from noria.core.operation cimport Operation
from noria.native cimport ring as native_ring
from noria.native.transfer cimport Transfer, has_position

cdef int _READ_AT
cdef int _STATUS_AT
cdef int _WRITE_AT
cdef int _READ_VECTOR_AT
cdef int _WRITE_VECTOR_AT
cdef int _ALLOCATE
cdef int _ADVISE
cdef int _DIRECT
cdef int _PARTS_MAX
cdef long long _BYTES_MAX
cdef bytearray _numbers
cdef int _MOVES
cdef int _OPEN
cdef bytearray _groups


@cython.locals(group=int)
cpdef bint suits(Operation op) except -1
@cython.locals(code=int, transfer=Transfer)
cpdef object lend(Operation op)
@cython.locals(transfer=Transfer, vector=bint, count=cython.longlong, number=int)
cpdef bint prepare(native_ring.Ring ring, Operation op) except -1
@cython.locals(code=int, number=int, flags=cython.longlong, offset=cython.longlong)
cdef bint _prepare_other(native_ring.Ring ring, Operation op) except -1
@cython.locals(code=int, number=int, length=cython.longlong, flags=cython.longlong, start=int)
cdef bint _prepare_name(native_ring.Ring ring, Operation op) except -1
@cython.locals(transfer=Transfer)
cpdef object finish(Operation op, long long result)
