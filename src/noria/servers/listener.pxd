cimport cython
from noria.core.descriptor cimport Descriptor
from noria.core.operation cimport Operation
from noria.loop.core cimport LoopCore
from noria.native cimport calls
from noria.native cimport sockets as native
from noria.transports.stream cimport StreamTransport


@cython.final
cdef class AcceptOperation(Operation):
    cdef public Listener listener


cdef class Listener:
    cdef object __weakref__
    cdef LoopCore _loop
    cdef object _sock
    cdef object _protocol_factory
    cdef object _server
    cdef object _tls
    cdef object _context
    cdef object _retry
    cdef object _local
    cdef bint _nodelay
    cdef Descriptor _descriptor
    cdef AcceptOperation _accept

    @cython.locals(descriptor=Descriptor, transport=StreamTransport)
    cdef object _on_connection(self, object accepted)
    cdef object _add_tls(self, object protocol)
    cdef object _on_failure(self, long long result)
