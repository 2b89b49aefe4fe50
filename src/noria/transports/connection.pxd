from noria.core.descriptor cimport Descriptor
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.native cimport sockets as native
from noria.transports.base cimport BaseTransport

cdef bint _COMPILED


cdef class Connection(BaseTransport):
    cdef public Descriptor _descriptor
    # Together eight bytes, because every connection has them.
    cdef readonly int _fd
    cdef readonly unsigned short _lost
    cdef readonly unsigned char _closing
    cdef readonly unsigned char _eof
    cdef object _sock
    cdef object _peer
    cdef object _local
    cdef object _extra
    cdef object _server

    cdef object _set_up(self, LoopCore loop, Descriptor descriptor, object peer, object extra,
                        object server, object context)
    cdef object _stop_receiving(self)
    cdef object _stop_sending(self)
    cdef bint _send_all(self) except -1
    cdef list _state(self)
    cpdef object _force_close(self, object exc)
    cdef object _release(self)
    cdef object _remember_local(self)
    cdef object _socket_info(self)
