# cython: boundscheck=False, wraparound=False
"""Members: a set that does not keep its members alive, for about 13 bytes each.

A WeakSet takes 145 bytes for a member, since it makes a weak reference of each. Here a member is
the address of an object that promises to leave before it goes: transports do.
"""

from cpython.ref cimport Py_INCREF
from cpython.list cimport PyList_SET_ITEM

cdef extern from *:
    """
    enum { NORIA_PLACES_MIN = 8 };

    /* Fibonacci hashing: objects lie at multiples of 16, and the product mixes upwards. */
    static size_t noria_home(const noria_table *table, const PyObject *member) {
        uint64_t mixed = (uint64_t)((uintptr_t)member >> 4) * UINT64_C(0x9E3779B97F4A7C15);
        return (size_t)(mixed >> 32) & table->mask;
    }

    /* The place of a member, or the free one where it belongs. */
    static size_t noria_place(const noria_table *table, const PyObject *member) {
        size_t place = noria_home(table, member);
        while (table->places[place] != NULL && table->places[place] != member)
            place = (place + 1) & table->mask;
        return place;
    }

    static int noria_resize(noria_table *table, size_t size) {
        noria_table fresh = {PyMem_Calloc(size, sizeof(PyObject *)), size - 1, table->count};
        if (fresh.places == NULL) return -1;
        for (size_t place = 0; table->places != NULL && place <= table->mask; place++) {
            PyObject *member = table->places[place];
            if (member != NULL) fresh.places[noria_place(&fresh, member)] = member;
        }
        PyMem_Free(table->places);
        *table = fresh;
        return 0;
    }

    static int noria_add(noria_table *table, PyObject *member) {
        size_t place;
        if ((size_t)(table->count + 1) * 3 > (table->mask + 1) * 2 &&
            noria_resize(table, (table->mask + 1) * 2) < 0)
            return -1;
        place = noria_place(table, member);
        if (table->places[place] == NULL) {
            table->places[place] = member;
            table->count++;
        }
        return 0;
    }

    static void noria_discard(noria_table *table, PyObject *member) {
        size_t hole = noria_place(table, member), place = hole;
        if (table->places[hole] == NULL) return;
        table->places[hole] = NULL;
        table->count--;
        /* What was pushed behind the hole by a collision moves up, or it would not be found. */
        for (;;) {
            PyObject *next = table->places[place = (place + 1) & table->mask];
            if (next == NULL) break;
            size_t home = noria_home(table, next);
            if (((place - home) & table->mask) < ((place - hole) & table->mask)) continue;
            table->places[hole] = next;
            table->places[place] = NULL;
            hole = place;
        }
        if (table->mask + 1 > NORIA_PLACES_MIN && (size_t)table->count * 8 < table->mask + 1)
            noria_resize(table, (table->mask + 1) / 2); /* without memory it stays as it is */
    }
    """
    enum:
        NORIA_PLACES_MIN
    int noria_resize(noria_table *table, size_t size)
    int noria_add(noria_table *table, object member)
    void noria_discard(noria_table *table, object member)
    void PyMem_Free(void *memory)


cdef class Members:
    """Objects that leave (`discard`) before they go."""

    def __cinit__(self):
        if noria_resize(&self._table, NORIA_PLACES_MIN) < 0:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self._table.places)

    def __len__(self):
        return self._table.count

    cpdef int add(self, object member) except -1:
        """Enter an object, once."""
        if noria_add(&self._table, member) < 0:
            raise MemoryError
        return 0

    cpdef object discard(self, object member):
        """Take an object out, if it is in."""
        noria_discard(&self._table, member)

    cpdef list copy(self):
        """Give the members in a list, which keeps them alive."""
        cdef list found
        cdef Py_ssize_t index
        cdef size_t place
        while True:
            found = [None] * self._table.count
            # Asking for memory may run the collector, and members may leave.
            if len(found) == self._table.count:
                break
        index = 0
        for place in range(self._table.mask + 1):
            if self._table.places[place] != NULL:
                member = <object>self._table.places[place]
                Py_INCREF(member)
                PyList_SET_ITEM(found, index, member)
                index += 1
        return found
