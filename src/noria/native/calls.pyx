"""Calls into user code and the interpreter by the shortest way of the C API."""

cdef extern from *:
    """
    #include <errno.h>
    #include <string.h>
    #include <unistd.h>

    /* The context is left before the error, if any, is passed on: as Context.run does it. */
    static PyObject *noria_leave(PyObject *context, PyObject *result) {
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(result);
        }
        return result;
    }

    static PyObject *noria_call(PyObject *context, PyObject *function, PyObject *args) {
        if (PyContext_Enter(context) < 0) return NULL;
        return noria_leave(context, PyObject_Vectorcall(function, &PyTuple_GET_ITEM(args, 0),
                                                        PyTuple_GET_SIZE(args), NULL));
    }

    /* Takes the error that a call has left behind, as a normalised exception object. */
    static PyObject *noria_caught(PyObject *result) {
        if (result != NULL) {
            Py_DECREF(result);
            Py_RETURN_NONE;
        }
    #if PY_VERSION_HEX >= 0x030C0000
        return PyErr_GetRaisedException();
    #else
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        if (traceback != NULL) {
            PyException_SetTraceback(value, traceback);
            Py_DECREF(traceback);
        }
        Py_XDECREF(type);
        return value;
    #endif
    }

    static PyObject *noria_try(PyObject *context, PyObject *function, PyObject *args) {
        return noria_caught(noria_call(context, function, args));
    }

    static PyObject *noria_call_one(PyObject *context, PyObject *function, PyObject *argument) {
        if (PyContext_Enter(context) < 0) return NULL;
        return noria_leave(context, PyObject_CallOneArg(function, argument));
    }

    static PyObject *noria_call_method(PyObject *context, PyObject *owner, PyObject *name,
                                       PyObject *argument) {
        if (PyContext_Enter(context) < 0) return NULL;
        return noria_leave(context, PyObject_CallMethodOneArg(owner, name, argument));
    }

    static int noria_is_sole(PyObject *thing) {
        Py_ssize_t offset = Py_TYPE(thing)->tp_weaklistoffset;
        if (Py_REFCNT(thing) != 1) return 0;
        return offset <= 0 || *(PyObject **)((char *)thing + offset) == NULL;
    }

    static void noria_track(PyObject *thing) {
        if (PyObject_IS_GC(thing) && !PyObject_GC_IsTracked(thing)) PyObject_GC_Track(thing);
    }

    static PyObject *noria_try_method(PyObject *context, PyObject *owner, PyObject *name,
                                      PyObject *argument) {
        return noria_caught(noria_call_method(context, owner, name, argument));
    }

    static PyObject *noria_try_method_two(PyObject *context, PyObject *owner, PyObject *name,
                                          PyObject *first, PyObject *second) {
        PyObject *args[] = {NULL, owner, first, second}; /* the callee may use the place in front */
        if (PyContext_Enter(context) < 0) return noria_caught(NULL);
        return noria_caught(noria_leave(context, PyObject_VectorcallMethod(
            name, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)));
    }
    """
    object noria_try_method_two(object context, object owner, object name, object first,
                                object second)
    object noria_try(object context, object function, object args)
    object noria_try_method(object context, object owner, object name, object argument)
    object noria_call(object context, object function, object args)
    object noria_call_one(object context, object function, object argument)
    object noria_call_method(object context, object owner, object name, object argument)
    int PyErr_CheckSignals() except -1
    int close_fd "close"(int fd) noexcept nogil
    int errno
    const char *strerror(int number)
    enum:
        EINTR, ECONNRESET
    bint noria_is_sole(object thing)
    void noria_track(object thing)
    object PyObject_Call(object function, tuple args, dict keywords)
    object PyContext_CopyCurrent()


cpdef object close_number(int fd):
    """Close a descriptor number (close(2)); an interrupted one has closed, and a reset is none.

    Raises:
        OSError: the number is none (EBADF), or what was written could not be stored.
    """
    cdef int failure = 0
    with nogil:
        if close_fd(fd) < 0:
            failure = errno
    if failure != 0 and failure != EINTR and failure != ECONNRESET:
        raise OSError(failure, strerror(failure).decode())


cpdef object call_in_context(object context, object function, tuple args):
    """Call ``function(*args)`` inside a context and return its result."""
    return noria_call(context, function, args)


cpdef object call_one_in_context(object context, object function, object argument):
    """Call ``function(argument)`` inside a context and return its result."""
    return noria_call_one(context, function, argument)


cpdef object call_method_in_context(object context, object owner, str name, object argument):
    """Call ``owner.name(argument)`` inside a context, without making a bound method."""
    return noria_call_method(context, owner, name, argument)


cpdef object try_in_context(object context, object function, tuple args):
    """Call ``function(*args)`` inside a context; the exception it raised, or None."""
    return noria_try(context, function, args)


cpdef object try_method_in_context(object context, object owner, str name, object argument):
    """Call ``owner.name(argument)`` inside a context; the exception it raised, or None."""
    return noria_try_method(context, owner, name, argument)


cpdef object try_method_two_in_context(object context, object owner, str name, object first,
                                       object second):
    """Call ``owner.name(first, second)`` inside a context; the exception it raised, or None."""
    return noria_try_method_two(context, owner, name, first, second)


cpdef object call_keywords(object function, tuple args, dict keywords):
    """Call ``function(*args, **keywords)``; the function gets the dictionary itself."""
    return PyObject_Call(function, args, keywords)


cpdef bint is_sole(object thing) noexcept:
    """Whether the caller's variable is the only reference to an object, weak ones included."""
    return noria_is_sole(thing)


cpdef object track(object thing):
    """Show an object to the garbage collector again that a `Queue` has hidden."""
    noria_track(thing)


cpdef int check_signals() except -1:
    """Run pending Python signal handlers; what they raise comes out here."""
    return PyErr_CheckSignals()


cpdef object copy_context():
    """Copy the context that the caller runs in."""
    return PyContext_CopyCurrent()
