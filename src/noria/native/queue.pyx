# cython: boundscheck=False, wraparound=False
"""A first-in, first-out queue on a ring of list items, without calls through the interpreter.

No step here lets go of the interpreter lock half-way, so any thread may append. A released item is
replaced before it is dropped: its destructor may run Python code that appends.
"""


from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.list cimport PyList_GET_ITEM, PyList_SET_ITEM


cdef class Queue:
    """Queue whose `append` is one step under the interpreter lock, so any thread may call it."""

    def __cinit__(self):
        self._items = [None] * 64
        self._mask = 63
        self._head = 0
        self._count = 0

    def __len__(self):
        return self._count

    cpdef Py_ssize_t size(self) noexcept:
        """How many items wait."""
        return self._count

    cpdef int append(self, object item) except -1:
        """Add an item at the end."""
        while self._count > self._mask:
            self._grow()
        # The place holds None; both steps are single stores, without a look at the old item.
        Py_INCREF(item)
        Py_DECREF(None)
        PyList_SET_ITEM(self._items, (self._head + self._count) & self._mask, item)
        self._count += 1
        return 0

    cpdef object popleft(self):
        """Take the oldest item.

        Raises:
            IndexError: the queue is empty.
        """
        cdef object item
        if self._count == 0:
            raise IndexError("pop from an empty queue")
        item = <object>PyList_GET_ITEM(self._items, self._head)
        Py_INCREF(None)
        PyList_SET_ITEM(self._items, self._head, None)
        Py_DECREF(item)  # the list's reference; `item` has its own
        self._head = (self._head + 1) & self._mask
        self._count -= 1
        return item

    cpdef int clear(self) except -1:
        """Drop everything."""
        cdef list dropped = self._items
        self._items = [None] * 64
        self._mask = 63
        self._head = 0
        self._count = 0
        dropped.clear()
        return 0

    cdef int _grow(self) except -1:
        cdef list items = self._items
        cdef list bigger = [None] * (2 * (self._mask + 1))
        cdef Py_ssize_t index
        # Up to Python 3.11 asking for memory may run the collector, and a finaliser may append.
        if self._items is not items:
            return 0
        for index in range(self._count):
            bigger[index] = items[(self._head + index) & self._mask]
        self._items = bigger
        self._head = 0
        self._mask = 2 * self._mask + 1
        return 0
