cimport cython
from noria.core.descriptor cimport Descriptor
from noria.core.operation cimport Operation
from noria.native cimport calls
from noria.native cimport sockets as native
from noria.native.datagrams cimport Endpoint
from noria.transports.flow cimport WriteFlow
from noria.transports.reading cimport ReadingConnection

cdef int _WAIT_WRITABLE
cdef Py_ssize_t _QUEUE_MAX
cdef Py_ssize_t _BYTES_MAX
cdef Py_ssize_t _HEADER
cdef int _EAGAIN
cdef int _ECANCELED
cdef int _IN_FLIGHT
cdef bint _sends_empty


@cython.final
cdef class WaitForRoom(Operation):
    cdef public DatagramSender transport


cdef class DatagramSender(ReadingConnection):
    cdef Endpoint _endpoint
    cdef WaitForRoom _room
    cdef object _address
    cdef object _target
    cdef object _retry
    cdef list _waiting
    cdef int _false_news
    cdef signed char _segmenting
    cdef unsigned char _connected
    cdef unsigned char _named
    cdef readonly unsigned char _blocked
    cdef unsigned char _collecting
    cdef unsigned char _sending

    cdef object _set_up_sending(self, Descriptor descriptor, object address)
    @cython.locals(target=object, result=cython.longlong)
    cpdef object sendto(self, object data, object addr=*)
    @cython.locals(result=cython.longlong)
    cdef Py_ssize_t _send_whole(self, bytes data, Py_ssize_t start, Py_ssize_t size,
                                Py_ssize_t segment_bytes, object addr) except -1
    cdef object _target_of(self, object addr)
    @cython.locals(flow=WriteFlow, waiting=list, chunk=bytes)
    cdef object _put(self, object data, object target)
    @cython.locals(result=cython.longlong)
    cdef object _send_by_name(self, object data, object target)
    cdef object _not_sent(self, long long result, object data, object target)
    @cython.locals(flow=WriteFlow, waiting=list, end=Py_ssize_t, position=Py_ssize_t,
                   sent=Py_ssize_t)
    cdef object _send_waiting(self, bint within_call)
    @cython.locals(result=cython.longlong)
    cdef tuple _send_some(self, list waiting, Py_ssize_t position)
    cdef object _send_failed(self, object error, bint within_call)
    cdef object _send_collected(self)
    @cython.locals(op=WaitForRoom)
    cdef object _wait_for_room(self)
    cpdef object _on_room(self, long long result)
    cdef object _stop_sending(self)
    cdef bint _send_all(self) except -1
    cdef object _drop_waiting(self)
    cdef object _release(self)
    cdef list _state(self)
    cdef object _end_if_sent(self)
    cdef object _tell(self, object exc, bint within_call)
    cdef object _protocol_raised(self, object exc, str name)
