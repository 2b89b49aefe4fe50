# cython: boundscheck=False, wraparound=False
"""Text or bytes that were read and not yet given, and their lines for `async for`."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_FindChar, PyUnicode_GET_LENGTH, PyUnicode_Substring
from libc.string cimport memchr

from noria.native.awaits cimport DONE_NOW, Awaited

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object o)


@cython.final
cdef class NextLine(Awaited):
    """One line, awaited."""


cdef class Lines:
    """What was read and not yet given.

    Args:
        end: the character that ends lines; "" if it takes more than one to tell.

    Attributes:
        data: bytes or text.
        at: where in `data` begins what has not been given.
    """

    def __init__(self, str end):
        self.end = ord(end) if end else 0
        self.data = b""
        self.at = 0

    cpdef Py_ssize_t left(self) except -1:
        """Tell how much there is."""
        return len(self.data) - self.at

    cpdef object take(self, Py_ssize_t size):
        """Give the next `size` of it, which has to be there."""
        cdef object data = self.data
        cdef Py_ssize_t at = self.at
        self.at = at + size
        return data if at == 0 and size == len(data) else data[at : at + size]

    cpdef object next_line(self):
        """Give the next line with its end, None if no whole one is there."""
        cdef object data = self.data
        cdef Py_ssize_t at = self.at
        cdef Py_ssize_t stop
        cdef const char *begin
        cdef const char *found
        if self.end == 0:
            return None
        if type(data) is bytes:
            begin = PyBytes_AS_STRING(data)
            found = <const char *>memchr(begin + at, self.end, PyBytes_GET_SIZE(data) - at)
            if found == NULL:
                return None
            stop = found - begin + 1
            self.at = stop
            return PyBytes_FromStringAndSize(begin + at, stop - at)
        stop = PyUnicode_FindChar(data, self.end, at, PyUnicode_GET_LENGTH(data), 1)
        if stop < 0:
            return None
        self.at = stop + 1
        return PyUnicode_Substring(data, at, stop + 1)


cdef class LineIterator:
    """An asynchronous iterator over lines.

    Args:
        lines: where they are.
        more: a coroutine function that reads on and gives the next line, or raises
            StopAsyncIteration; called when no whole line is there.
    """

    def __init__(self, Lines lines, more):
        self.lines = lines
        self.more = more
        self.line = NextLine.__new__(NextLine)

    def __aiter__(self):
        return self

    def __anext__(self):
        cdef NextLine line = self.line
        cdef object found = self.lines.next_line()
        if found is None:
            return self.more()
        if Py_REFCNT(line) > 2:  # somebody has kept the one before
            line = self.line = NextLine.__new__(NextLine)
        line.stage = DONE_NOW
        line.outcome = found
        return line
