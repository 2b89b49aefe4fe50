# cython: boundscheck=False, wraparound=False
"""A first-in, first-out queue on a ring of list items, without calls through the interpreter.

No step here lets go of the interpreter lock half-way, so any thread may append. A released item is
replaced before it is dropped: its destructor may run Python code that appends.

While an item waits it is the queue's, in the eyes of the garbage collector too: it is taken off
the collector's lists, and what it refers to is shown as the queue's own. A burst of a hundred
thousand callbacks would otherwise be walked through again and again. An item that somebody else
refers to as well goes back on the lists when it leaves.
"""


from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.list cimport PyList_GET_ITEM, PyList_SET_ITEM

cdef extern from *:
    """
    static traverseproc noria_own_traverse;
    static Py_ssize_t noria_ring_offset;

    static int noria_queue_traverse(PyObject *queue, visitproc visit, void *arg) {
        noria_ring *ring = (noria_ring *)((char *)queue + noria_ring_offset);
        int result = noria_own_traverse(queue, visit, arg);
        for (Py_ssize_t index = 0; index < ring->count && !result; index++) {
            PyObject *item = ring->places[(ring->head + index) & ring->mask];
            /* What is shared may be reached by ways that the collector does not see: it stays. */
            if (Py_REFCNT(item) == 1 && PyObject_IS_GC(item) && !PyObject_GC_IsTracked(item))
                result = Py_TYPE(item)->tp_traverse(item, visit, arg);
        }
        return result;
    }

    static void noria_install(PyTypeObject *type, Py_ssize_t offset) {
        noria_ring_offset = offset;
        noria_own_traverse = type->tp_traverse;
        type->tp_traverse = noria_queue_traverse;
    }

    static inline PyObject **noria_places(PyObject *list) {
        return ((PyListObject *)list)->ob_item;
    }

    static inline void noria_hide(PyObject *item) {
        if (PyObject_IS_GC(item) && PyObject_GC_IsTracked(item)) PyObject_GC_UnTrack(item);
    }

    static inline void noria_show(PyObject *item) {
        if (PyObject_IS_GC(item) && !PyObject_GC_IsTracked(item)) PyObject_GC_Track(item);
    }

    static inline int noria_shared(PyObject *item) { return Py_REFCNT(item) > 1; }
    """
    ctypedef struct PyTypeObject:
        pass
    void noria_install(PyTypeObject *type, Py_ssize_t offset)
    void **noria_places(object items)
    void noria_hide(object item)
    void noria_show(object item)
    bint noria_shared(object item)


cdef class Queue:
    """Queue whose `append` is one step under the interpreter lock, so any thread may call it."""

    def __cinit__(self):
        self._use([None] * 64, 0)

    def __len__(self):
        return self._ring.count

    cpdef Py_ssize_t size(self) noexcept:
        """How many items wait."""
        return self._ring.count

    cpdef int append(self, object item) except -1:
        """Add an item at the end."""
        while self._ring.count > self._ring.mask:
            self._grow()
        noria_hide(item)
        # The place holds None; both steps are single stores, without a look at the old item.
        Py_INCREF(item)
        Py_DECREF(None)
        PyList_SET_ITEM(self._items, (self._ring.head + self._ring.count) & self._ring.mask, item)
        self._ring.count += 1
        return 0

    cpdef object popleft(self):
        """Take the oldest item.

        Raises:
            IndexError: the queue is empty.
        """
        cdef object item
        if self._ring.count == 0:
            raise IndexError("pop from an empty queue")
        item = <object>PyList_GET_ITEM(self._items, self._ring.head)
        Py_INCREF(None)
        PyList_SET_ITEM(self._items, self._ring.head, None)
        Py_DECREF(item)  # the list's reference; `item` has its own
        self._ring.head = (self._ring.head + 1) & self._ring.mask
        self._ring.count -= 1
        if noria_shared(item):
            noria_show(item)
        return item

    cpdef int clear(self) except -1:
        """Drop everything."""
        cdef list dropped = self._items
        self._use([None] * 64, 0)
        for item in dropped:
            noria_show(item)
        dropped.clear()
        return 0

    cdef object _use(self, list items, Py_ssize_t count):
        """Go on with a list whose first `count` places are taken."""
        self._items = items
        self._ring.places = noria_places(items)
        self._ring.head = 0
        self._ring.count = count
        self._ring.mask = len(items) - 1

    cdef int _grow(self) except -1:
        cdef list items = self._items
        cdef list bigger = [None] * (2 * (self._ring.mask + 1))
        cdef Py_ssize_t index
        # Up to Python 3.11 asking for memory may run the collector, and a finaliser may append.
        if self._items is not items:
            return 0
        for index in range(self._ring.count):
            bigger[index] = items[(self._ring.head + index) & self._ring.mask]
        self._use(bigger, self._ring.count)
        return 0


cdef Queue _sample = Queue()
noria_install(<PyTypeObject *>Queue, <char *>&_sample._ring - <char *><void *>_sample)
