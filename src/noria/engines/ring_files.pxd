cimport cython
from noria.core.operation cimport Operation
from noria.native cimport ring as native_ring

cdef int _READ_AT
cdef int _WRITE_AT


cpdef bint suits(Operation op) except -1
cpdef object lend(Operation op)
@cython.locals(code=int, number=int, length=cython.longlong, flags=cython.longlong, offset=cython.longlong,
               start=int)
cpdef bint prepare(native_ring.Ring ring, Operation op) except -1
cpdef object finish(Operation op, long long result)
