cpdef object shrink(object bio)
