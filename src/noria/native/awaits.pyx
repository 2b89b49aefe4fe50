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
        int spare;
        PyObject *outcome;
    } noria_awaited;

    static iternextfunc noria_compiled_next;

    #if PY_VERSION_HEX >= 0x030C0000
    /* StopIteration as the interpreter knows it, made from what is left of earlier ones: calling
       the class for every result takes as long as a read of 4 KiB. */
    enum { NORIA_SPARE_MAX = 4 };
    static PyStopIterationObject *noria_spare[NORIA_SPARE_MAX];
    static int noria_spares = 0;

    static void noria_stop_dealloc(PyObject *self) {
        PyObject_GC_UnTrack(self);
        Py_TYPE(self)->tp_clear(self);
        if (noria_spares < NORIA_SPARE_MAX)
            noria_spare[noria_spares++] = (PyStopIterationObject *)self;
        else
            Py_TYPE(self)->tp_free(self);
    }

    static PyTypeObject noria_stop_type = {
        PyVarObject_HEAD_INIT(NULL, 0)
        .tp_name = "StopIteration",
        .tp_basicsize = sizeof(PyStopIterationObject),
        .tp_dealloc = noria_stop_dealloc,
        .tp_flags = Py_TPFLAGS_DEFAULT,
    };

    static int noria_ready(void) {
        noria_stop_type.tp_base = (PyTypeObject *)PyExc_StopIteration;
        return PyType_Ready(&noria_stop_type);
    }

    static void noria_stop(PyObject *value) {
        PyStopIterationObject *end;
        if (noria_spares > 0) {
            end = noria_spare[--noria_spares];
            Py_SET_REFCNT((PyObject *)end, 1);
            end->suppress_context = 0;
            PyObject_GC_Track((PyObject *)end);
        }
        else {
            end = (PyStopIterationObject *)noria_stop_type.tp_alloc(&noria_stop_type, 0);
            if (end == NULL) return;
        }
        end->args = PyTuple_New(0);
        end->value = Py_NewRef(value);
        PyErr_SetRaisedException((PyObject *)end);
    }
    #else
    static int noria_ready(void) { return 0; }

    static void noria_stop(PyObject *value) {
        if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
            /* These would be taken for the arguments, or for the exception itself. */
            PyObject *end = PyObject_CallOneArg(PyExc_StopIteration, value);
            if (end != NULL) {
                PyErr_SetObject(PyExc_StopIteration, end);
                Py_DECREF(end);
            }
        }
        else
            PyErr_SetObject(PyExc_StopIteration, value);
    }
    #endif

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
        noria_stop(outcome);
        if (Py_REFCNT(self) == awaited->spare) {
            /* Who awaits it is the only one to have it, and has what it came for. */
            Py_INCREF(Py_None);
            awaited->outcome = Py_None;
            Py_DECREF(outcome);
        }
        return NULL;
    }

    static int noria_is_wakeup(PyObject *callback) {
        return PyCFunction_Check(callback) &&
               strcmp(((PyCFunctionObject *)callback)->m_ml->ml_name, "task_wakeup") == 0;
    }

    /* Fill the slot, if the layout is what it has to be. */
    static int noria_fill(PyTypeObject *type) {
        if (type->tp_basicsize != sizeof(noria_awaited) || noria_ready() < 0) return 0;
        noria_compiled_next = type->tp_iternext;
        type->tp_iternext = noria_next;
        return 1;
    }
    """
    Py_ssize_t Py_REFCNT(object o)
    bint noria_is_wakeup(object callback)
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


cpdef bint is_spare(Awaited made) noexcept:
    """Tell whether nobody but its keeper and the caller's variable has it."""
    return made.spare and Py_REFCNT(made) == made.spare


cpdef bint is_wakeup(object callback) noexcept:
    """Tell whether it is how a task of asyncio's, of the version in C, has itself woken."""
    return noria_is_wakeup(callback)


cdef class Awaited:
    """An outcome that is awaited; it is its own iterator.

    Attributes:
        stage: PENDING; DONE, `outcome` is what `await` gives; ENDED_BADLY, `result` raises; or
            PAUSING, as DONE after one turn of the loop.
        outcome: what it came to.
        spare: how many references it has when it may be used for another outcome; 0 for never.
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
