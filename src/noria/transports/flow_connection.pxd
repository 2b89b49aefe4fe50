cimport cython
from noria.core.descriptor cimport Descriptor
from noria.loop.core cimport LoopCore
from noria.transports.connection cimport Connection
from noria.transports.flow cimport WriteFlow

cdef int _LOSSES_LOGGED


cdef class FlowConnection(Connection):
    cdef readonly WriteFlow _flow

    cdef object _set_up(self, LoopCore loop, Descriptor descriptor, object peer, object extra,
                        object server, object context)
    @cython.locals(flow=WriteFlow)
    cdef WriteFlow _make_flow(self)
    cdef object _maybe_pause_protocol(self, WriteFlow flow)
    cdef object _maybe_resume_protocol(self, WriteFlow flow)
    cdef object _write_after_loss(self)
