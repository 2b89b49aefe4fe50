cpdef object stat_now(bytes name, bint follow)
cpdef int rename_flags(
    bytes source, bytes target, int source_fd, int target_fd, unsigned int flags
) except? -1
