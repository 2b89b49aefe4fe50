cimport cython
from noria.native cimport calls
from noria.transports.flow cimport WriteFlow
from noria.transports.inner cimport Inner

cdef int _NEW
cdef int _HANDSHAKE
cdef int _OPEN
cdef int _FLUSHING
cdef int _ENDING
cdef int _OVER


cdef class TLSSession(Inner):
    cdef object _sslcontext
    cdef readonly object _sslobj
    cdef object _engine
    cdef readonly object _incoming
    cdef readonly object _outgoing
    cdef readonly object _lower
    cdef object _waiter
    cdef object _timer
    cdef object _seconds
    cdef double _started
    cdef readonly WriteFlow _flow
    cdef bytes _input
    cdef bytes _header
    cdef object _verdict
    cdef Py_ssize_t _at
    cdef int _missing
    cdef int _fed
    cdef int _room
    # Together at the end, because every connection has them.
    cdef readonly unsigned char _state
    cdef readonly unsigned char _closing
    cdef unsigned char _direct
    cdef unsigned char _inner
    cdef unsigned char _buffered
    cdef unsigned char _upgraded
    cdef unsigned char _made
    cdef unsigned char _peer_closed
    cdef unsigned char _lower_paused
    cdef unsigned char _lost_writes
    cdef readonly unsigned char _paused
    cdef unsigned char _ready
    cdef unsigned char _grown

    cpdef object _go_on(self)
    cdef object _send_backlog(self)
    cdef object _drop_ready(self)
    cdef object _drop_input(self)
    cdef object _take_protocol(self, object protocol)
    cdef object _take_over_pause(self)
    cdef object _shake(self)
    cdef object _shaken(self)
    cdef object _choose_engine(self)
    cdef object _shake_failed(self, object exc)
    cdef object _wake_waiter(self, object exc)
    cdef object _stop_timer(self)
    cdef object _flush_outgoing(self)
    cdef object _shut_down(self)
    cdef object _end_if_flushed(self)
    cdef object _finish(self)
    cdef object _on_close_notify(self)
    cdef object _end_without_notify(self)
    cdef object _end(self)
    cpdef object _force_close(self, object exc)
