# cython: boundscheck=False, wraparound=False
"""What `await` asks of an awaited outcome, without a traceback being made for it.

`await` ends when `__next__` raises StopIteration with the result. The compiler adds a line of
traceback to every exception, which takes longer than a read from the page cache: the slot of the
type is filled with a function in C, which sets the exception and no more.
"""

from cpython.object cimport PyTypeObject

cdef extern from *:
    """
    enum { NORIA_PENDING, NORIA_DONE, NORIA_ENDED_BADLY, NORIA_PAUSING };

    /* The layout of class Awaited, whose fields the compiler puts in their order. */
    typedef struct {
        PyObject_HEAD
        void *table;
        int stage;
        int blocking;
        PyObject *outcome;
    } noria_awaited;

    static iternextfunc noria_compiled_next;

    static PyObject *noria_next(PyObject *self) {
        noria_awaited *awaited = (noria_awaited *)self;
        PyObject *outcome;
        if (awaited->stage == NORIA_PENDING) {
            awaited->blocking = 1;
            Py_INCREF(self);
            return self;
        }
        if (awaited->stage == NORIA_PAUSING) {
            awaited->stage = NORIA_DONE;
            Py_RETURN_NONE;
        }
        if (awaited->stage != NORIA_DONE) return noria_compiled_next(self);
        outcome = awaited->outcome;
        if (outcome == NULL || outcome == Py_None) return NULL; /* no exception means None */
        if (PyTuple_Check(outcome) || PyExceptionInstance_Check(outcome)) {
            /* These would be taken for the arguments, or for the exception itself. */
            PyObject *end = PyObject_CallOneArg(PyExc_StopIteration, outcome);
            if (end != NULL) {
                PyErr_SetObject(PyExc_StopIteration, end);
                Py_DECREF(end);
            }
        }
        else
            PyErr_SetObject(PyExc_StopIteration, outcome);
        return NULL;
    }

    /* Fill the slot, if the layout is what it has to be. */
    static int noria_fill(PyTypeObject *type) {
        if (type->tp_basicsize != sizeof(noria_awaited)) return 0;
        noria_compiled_next = type->tp_iternext;
        type->tp_iternext = noria_next;
        return 1;
    }
    """
    enum:
        NORIA_PENDING
        NORIA_DONE
        NORIA_ENDED_BADLY
        NORIA_PAUSING
    int noria_fill(PyTypeObject *type)

PENDING = NORIA_PENDING
DONE = NORIA_DONE
ENDED_BADLY = NORIA_ENDED_BADLY
PAUSING = NORIA_PAUSING


cdef class Awaited:
    """An outcome that is awaited; it is its own iterator.

    Attributes:
        stage: PENDING; DONE, `outcome` is what `await` gives; ENDED_BADLY, `result` raises; or
            PAUSING, as DONE after one turn of the loop.
        outcome: what it came to.
    """

    cpdef object result(self):
        """Give the outcome, or raise why there is none."""
        raise NotImplementedError

    def __await__(self):
        """Give itself: it is its own iterator."""
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.stage == NORIA_PENDING:
            self._asyncio_future_blocking = True
            return self
        if self.stage == NORIA_PAUSING:
            self.stage = NORIA_DONE
            return None
        outcome = self.outcome if self.stage == NORIA_DONE else self.result()
        if outcome is None:
            raise StopIteration
        raise StopIteration(outcome)


assert noria_fill(<PyTypeObject *>Awaited), "the compiler lays classes out in another way"
