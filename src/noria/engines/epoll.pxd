from noria.engines.readiness cimport ReadinessEngine


cdef class EpollEngine(ReadinessEngine):
    pass


cdef class EpollEdgeEngine(ReadinessEngine):
    pass
