cimport cython
from noria.engines.interface cimport Engine
from noria.loop.core cimport LoopCore
from noria.loop.waits cimport FutureOperation, wait_for
from noria.native cimport sockets as native

cdef int _EAGAIN
cdef int _READ
cdef int _WRITE
cdef int _CREATED
cdef int _WAITING
cdef int _ENDED
cdef int _SETTLED


cdef class SocketCoroutine:
    cdef LoopCore _loop
    cdef object _sock
    cdef FutureOperation _op
    cdef int _fd
    cdef int _state
    cdef bint _writing

    cdef object _begin(self, LoopCore loop, object sock)
    cdef object _prepare(self)
    cdef bint _attempt(self) except -1
    cdef object _result(self)
    cdef bint _idle(self) except -1
    cdef object _check_socket(self)
    @cython.locals(op=FutureOperation)
    cdef object _wait(self)
    @cython.locals(op=FutureOperation)
    cdef object _leave(self)
    @cython.locals(op=FutureOperation)
    cdef object _resume(self)


cdef class ReceiveCoroutine(SocketCoroutine):
    cdef object _data
    cdef Py_ssize_t _size
    cdef bint _first

    cdef object _prepare(self)
    @cython.locals(vain=bint)
    cdef bint _attempt(self) except -1
    cdef object _result(self)
    cdef bint _idle(self) except -1


cdef class SendCoroutine(SocketCoroutine):
    cdef object _data
    cdef Py_ssize_t _sent

    cdef object _prepare(self)
    @cython.locals(count=cython.longlong)
    cdef bint _attempt(self) except -1
