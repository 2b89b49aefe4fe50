cpdef object close_number(int fd)
cpdef object call_in_context(object context, object function, tuple args)
cpdef object call_one_in_context(object context, object function, object argument)
cpdef object call_method_in_context(object context, object owner, str name, object argument)
cpdef object try_in_context(object context, object function, tuple args)
cpdef object try_method_in_context(object context, object owner, str name, object argument)
cpdef object try_method_two_in_context(object context, object owner, str name, object first,
                                       object second)
cpdef object call_keywords(object function, tuple args, dict keywords)
cpdef bint is_sole(object thing) noexcept
cpdef object track(object thing)
cpdef int check_signals() except -1
cpdef object copy_context()
