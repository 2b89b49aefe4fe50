from noria.native cimport views


cpdef object lend_writable(object buffer)
cpdef object lend_readable(object buffer)
