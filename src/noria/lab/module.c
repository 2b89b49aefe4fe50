/* noria.lab._client: the load generator and the bare server as a Python module. Limited API, so
 * that one build serves every supported Python; see _client.pyi for the contract. No format with
 * '#': built by 3.13 it would not be understood by those before. */
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030b0000
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>

#ifndef __linux__
#error "noria.lab._client needs epoll; do not build it on this system"
#endif

#include "native.h"
#include "openssl.h"
#include "options.h"
#include "results.h"
#include "targets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

typedef struct {
    PyObject_HEAD
    struct lab_client client;
    int ready;
    int running;
    PyThreadState *thread; /* set while a phase runs without the GIL */
} ClientObject;

/* ---- checks ---- */

static int check_size(const ClientObject *self, Py_ssize_t size)
{
    Py_ssize_t most = (Py_ssize_t)self->client.size_max;
    Py_ssize_t train = (Py_ssize_t)self->client.train;
    if (!self->client.datagrams)
        return check_range("size", size, 1, most);
    if (train)
        return check_range("size", size, TRAIN_SIZE_BYTES_MIN,
                           most < TRAIN_BYTES_MAX / train ? most : TRAIN_BYTES_MAX / train);
    return check_range("size", size, DATAGRAM_BYTES_MIN,
                       most < DATAGRAM_BYTES_MAX ? most : DATAGRAM_BYTES_MAX);
}

/* ---- phases: without the GIL, asking for signals now and then ---- */

static int client_interrupted(void *argument)
{
    ClientObject *self = argument;
    PyEval_RestoreThread(self->thread);
    int failed = PyErr_CheckSignals();
    self->thread = PyEval_SaveThread();
    return failed;
}

static int phase_begin(ClientObject *self)
{
    if (!self->ready) {
        PyErr_SetString(PyExc_RuntimeError, "the client is closed");
        return -1;
    }
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "a phase is already running in another thread");
        return -1;
    }
    self->running = 1;
    self->thread = PyEval_SaveThread();
    return 0;
}

static PyObject *phase_end(ClientObject *self)
{
    PyEval_RestoreThread(self->thread);
    self->thread = NULL;
    self->running = 0;
    if (PyErr_Occurred())
        return NULL;
    return result_as_dict(&self->client);
}

/* ---- the type ---- */

static int progress_map(struct lab_client *client, int fd)
{
    size_t bytes = PROGRESS_WORDS * sizeof(uint64_t);
    client->progress = client->progress_own;
    if (fd < 0)
        return 0;
    struct stat status;
    if (fstat(fd, &status) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (status.st_size < (off_t)bytes) {
        PyErr_Format(PyExc_ValueError, "progress_fd must have at least %zu bytes", bytes);
        return -1;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    client->progress = memory;
    return 0;
}

static void client_clear(ClientObject *self)
{
    struct lab_client *client = &self->client;
    if (self->ready)
        lab_client_clear(client);
    else {
        free(client->targets);
        free(client->request);
        free(client->response);
        client->request = NULL;
        client->response = NULL;
    }
    client->targets = NULL;
    if (client->progress && client->progress != client->progress_own)
        munmap((void *)client->progress, PROGRESS_WORDS * sizeof(uint64_t));
    client->progress = NULL;
    self->ready = 0;
}

static int client_init(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"targets", "connections", "size_max", "depth_max", "samples_max",
                            "seed", "progress_fd", "datagrams", "resend_s", "tls", "request",
                            "response", "train", "train_back", NULL};
    ClientObject *self = (ClientObject *)object;
    struct lab_client *client = &self->client;
    PyObject *targets;
    Py_ssize_t connections, size_max = 65536, depth_max = 1, samples_max = 1 << 18;
    unsigned long long seed = 1;
    Py_ssize_t train = 0;
    int progress_fd = -1, datagrams = 0, tls = 0, train_back = 0;
    double resend_s = 0.2;
    Py_buffer request = {NULL}, response = {NULL};
    if (self->ready) {
        PyErr_SetString(PyExc_RuntimeError, "a client is initialised once");
        return -1;
    }
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "On|$nnnKipdpz*z*np", names, &targets,
                                     &connections, &size_max, &depth_max, &samples_max, &seed,
                                     &progress_fd, &datagrams, &resend_s, &tls, &request,
                                     &response, &train, &train_back))
        return -1;
    client->datagrams = datagrams;
    int copied = exchange_copy(client, request.buf, request.len, response.buf, response.len);
    PyBuffer_Release(&request);
    PyBuffer_Release(&response);
    if (copied < 0)
        return -1;
    if (!(resend_s >= RESEND_SECONDS_MIN && resend_s <= SECONDS_MAX)) {
        PyErr_SetString(PyExc_ValueError, "resend_s must be 0.001..86400 seconds");
        return -1;
    }
    client->resend_ns = (uint64_t)(resend_s * 1e9);
    Py_ssize_t size_min = datagrams ? DATAGRAM_BYTES_MIN : 1;
    if (check_range("connections", connections, 1, CONNECTIONS_MAX) < 0
        || tls_check(tls, datagrams) < 0
        || train_check(client, train, train_back, depth_max) < 0
        || check_range("size_max", size_max, size_min, SIZE_BYTES_MAX) < 0
        || check_range("depth_max", depth_max, 1, DEPTH_MAX) < 0
        || check_range("samples_max", samples_max, 1, SAMPLES_MAX) < 0
        || targets_from_python(client, targets) < 0 || progress_map(client, progress_fd) < 0)
        return -1;
    client->connection_count = (size_t)connections;
    client->size_max = (size_t)size_max;
    client->depth_max = (size_t)depth_max;
    client->samples_max = (size_t)samples_max;
    client->seed = seed;
    client->interrupted = client_interrupted;
    client->interrupted_argument = self;
    self->ready = 1;
    int result = lab_client_init(client);
    if (result == 0 && tls && (client->tls_context = lab_tls_client_context()) == NULL)
        result = -ENOMEM;
    if (result < 0) {
        errno = -result;
        PyErr_SetFromErrno(PyExc_OSError);
        client_clear(self);
        return -1;
    }
    return 0;
}

static void client_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    client_clear((ClientObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyObject *client_connect(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"count", "parallel", "size", "timeout_s", NULL};
    ClientObject *self = (ClientObject *)object;
    Py_ssize_t count, parallel = 128, size = 64;
    double timeout_s = 60.0;
    uint64_t timeout_ns;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "n|$nnd", names, &count, &parallel, &size,
                                     &timeout_s))
        return NULL;
    if (check_range("count", count, 0, (Py_ssize_t)self->client.connection_count) < 0
        || check_range("parallel", parallel, 1, CONNECTIONS_MAX) < 0
        || check_size(self, size) < 0
        || check_seconds("timeout_s", timeout_s, &timeout_ns) < 0 || phase_begin(self) < 0)
        return NULL;
    lab_client_connect(&self->client, (size_t)count, (size_t)parallel, (size_t)size, timeout_ns);
    return phase_end(self);
}

static PyObject *client_echo(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"seconds", "active", "first", "size", "depth",
                            "requests_max", "ramp", "drain_s", NULL};
    ClientObject *self = (ClientObject *)object;
    Py_ssize_t all = (Py_ssize_t)self->client.connection_count;
    Py_ssize_t active = all, first = 0, size = 64, depth = 1, requests_max = 0, ramp = 64;
    double seconds, drain_s = 10.0;
    struct lab_echo echo;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "d|$nnnnnnd", names, &seconds, &active,
                                     &first, &size, &depth, &requests_max, &ramp, &drain_s))
        return NULL;
    if (check_range("active", active, 0, all) < 0 || check_range("first", first, 0, all) < 0
        || check_size(self, size) < 0
        || check_range("depth", depth, 1, (Py_ssize_t)self->client.depth_max) < 0
        || check_range("requests_max", requests_max, 0, PY_SSIZE_T_MAX) < 0
        || check_range("ramp", ramp, 0, CONNECTIONS_MAX) < 0
        || check_seconds("seconds", seconds, &echo.duration_ns) < 0
        || check_seconds("drain_s", drain_s, &echo.drain_ns) < 0 || phase_begin(self) < 0)
        return NULL;
    echo.active = (size_t)active;
    echo.first = (size_t)first;
    echo.size = (size_t)size;
    echo.depth = (size_t)depth;
    echo.requests_max = (uint64_t)requests_max;
    echo.ramp = (size_t)ramp;
    lab_client_echo(&self->client, &echo);
    return phase_end(self);
}

static PyObject *client_churn(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"seconds", "parallel", "size", "sources",
                            "half_close", "drain_s", NULL};
    ClientObject *self = (ClientObject *)object;
    Py_ssize_t all = (Py_ssize_t)self->client.connection_count;
    Py_ssize_t parallel = all, size = 64, sources = 0;
    int half_close = 0;
    double seconds, drain_s = 10.0;
    struct lab_churn churn;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "d|$nnnpd", names, &seconds, &parallel,
                                     &size, &sources, &half_close, &drain_s))
        return NULL;
    if (check_range("parallel", parallel, 0, all) < 0
        || check_size(self, size) < 0
        || check_range("sources", sources, 0, SOURCES_MAX) < 0
        || check_seconds("seconds", seconds, &churn.duration_ns) < 0
        || check_seconds("drain_s", drain_s, &churn.drain_ns) < 0)
        return NULL;
    if (self->client.datagrams || self->client.tls_context) {
        PyErr_SetString(PyExc_ValueError, "a churn is one of plain streams");
        return NULL;
    }
    if (lab_client_alive(&self->client)) {
        PyErr_SetString(PyExc_RuntimeError, "a churn opens its connections; disconnect first");
        return NULL;
    }
    if (phase_begin(self) < 0)
        return NULL;
    churn.parallel = (size_t)parallel;
    churn.size = (size_t)size;
    churn.sources = (size_t)sources;
    churn.half_close = half_close;
    lab_client_churn(&self->client, &churn);
    return phase_end(self);
}

static PyObject *client_idle(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"seconds", NULL};
    ClientObject *self = (ClientObject *)object;
    double seconds;
    uint64_t duration_ns;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "d", names, &seconds)
        || check_seconds("seconds", seconds, &duration_ns) < 0 || phase_begin(self) < 0)
        return NULL;
    lab_client_idle(&self->client, duration_ns);
    return phase_end(self);
}

static PyObject *client_disconnect(PyObject *object, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"timeout_s", NULL};
    ClientObject *self = (ClientObject *)object;
    double timeout_s = 30.0;
    uint64_t timeout_ns;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|$d", names, &timeout_s)
        || check_seconds("timeout_s", timeout_s, &timeout_ns) < 0 || phase_begin(self) < 0)
        return NULL;
    lab_client_disconnect(&self->client, timeout_ns);
    return phase_end(self);
}

static PyObject *client_close(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    ClientObject *self = (ClientObject *)object;
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "a phase is running in another thread");
        return NULL;
    }
    client_clear(self);
    Py_RETURN_NONE;
}

static PyObject *client_progress(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    ClientObject *self = (ClientObject *)object;
    volatile uint64_t *words = self->client.progress;
    if (!self->ready) {
        PyErr_SetString(PyExc_RuntimeError, "the client is closed");
        return NULL;
    }
    return Py_BuildValue("(KKKKKK)", (unsigned long long)words[PROGRESS_PHASE],
                         (unsigned long long)words[PROGRESS_CONNECTED],
                         (unsigned long long)words[PROGRESS_ANSWERED],
                         (unsigned long long)words[PROGRESS_FAILURES],
                         (unsigned long long)words[PROGRESS_BYTES],
                         (unsigned long long)words[PROGRESS_ALIVE]);
}

/* The cast through void (*)(void) tells the compiler that the third argument is meant. */
#define PHASE(name) \
    {#name, (PyCFunction)(void (*)(void))client_##name, METH_VARARGS | METH_KEYWORDS, NULL}

static PyMethodDef client_methods[] = {
    PHASE(connect),
    PHASE(echo),
    PHASE(churn),
    PHASE(idle),
    PHASE(disconnect),
    {"close", client_close, METH_NOARGS, NULL},
    {"progress", client_progress, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, "Load generator: connections that send, await and check echoes. See _client.pyi."},
    {Py_tp_init, client_init},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_methods, client_methods},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "noria.lab._client.Client",
    .basicsize = sizeof(ClientObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = client_slots,
};

/* ---- functions ---- */

typedef int (*lab_server)(const int *listeners, size_t listener_count, int stop_fd);

static PyObject *serve_with(lab_server server, PyObject *arguments)
{
    int listeners[LISTENERS_MAX];
    PyObject *descriptors;
    int stop_fd, result;
    if (!PyArg_ParseTuple(arguments, "Oi", &descriptors, &stop_fd))
        return NULL;
    Py_ssize_t count = PySequence_Size(descriptors);
    if (count < 0 || check_range("the number of listeners", count, 1, LISTENERS_MAX) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PySequence_GetItem(descriptors, i);
        if (item == NULL)
            return NULL;
        listeners[i] = (int)PyLong_AsLong(item);
        Py_DECREF(item);
        if (PyErr_Occurred())
            return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    result = server(listeners, (size_t)count, stop_fd);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyObject *module_serve(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return serve_with(lab_serve, arguments);
}

static PyObject *module_serve_ring(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return serve_with(lab_serve_ring, arguments);
}

static PyObject *module_serve_datagrams(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return serve_with(lab_serve_datagrams, arguments);
}

static PyObject *module_serve_datagrams_batched(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return serve_with(lab_serve_datagrams_batched, arguments);
}

static int tls_needed(void)
{
    if (lab_tls_loaded())
        return 0;
    PyErr_SetString(PyExc_RuntimeError, "load_tls comes before TLS");
    return -1;
}

static PyObject *module_serve_tls(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    return tls_needed() < 0 ? NULL : serve_with(lab_serve_tls, arguments);
}

static PyObject *module_load_tls(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    const char *ssl_path, *crypto_path;
    if (!PyArg_ParseTuple(arguments, "ss", &ssl_path, &crypto_path))
        return NULL;
    const char *absent = lab_tls_load(ssl_path, crypto_path);
    if (absent) {
        PyErr_Format(PyExc_OSError, "%s cannot be loaded", absent);
        return NULL;
    }
    return PyUnicode_FromString(lab_tls_version());
}

static PyObject *module_make_certificate(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint8_t *certificate, *key;
    size_t certificate_bytes, key_bytes;
    if (tls_needed() < 0)
        return NULL;
    if (lab_tls_make_certificate(&certificate, &certificate_bytes, &key, &key_bytes) < 0) {
        PyErr_SetString(PyExc_OSError, "OpenSSL cannot make a certificate");
        return NULL;
    }
    PyObject *made = Py_BuildValue(
        "(NN)", PyBytes_FromStringAndSize((const char *)certificate, (Py_ssize_t)certificate_bytes),
        PyBytes_FromStringAndSize((const char *)key, (Py_ssize_t)key_bytes));
    free(certificate);
    free(key);
    return made;
}

static PyObject *module_spawn(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    struct lab_spawned done;
    const char *path;
    Py_ssize_t parallel;
    double seconds;
    uint64_t duration_ns;
    int result;
    if (!PyArg_ParseTuple(arguments, "sdn", &path, &seconds, &parallel)
        || check_seconds("seconds", seconds, &duration_ns) < 0
        || check_range("parallel", parallel, 1, PARALLEL_MAX) < 0)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    result = lab_spawn(path, duration_ns, (size_t)parallel, &done);
    Py_END_ALLOW_THREADS
    if (result < 0) {
        errno = -result;
        return PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
    }
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K}", "elapsed_ns", (unsigned long long)done.elapsed_ns, "cpu_ns",
        (unsigned long long)done.cpu_ns, "children_cpu_ns",
        (unsigned long long)done.children_cpu_ns, "spawned", (unsigned long long)done.spawned,
        "failed", (unsigned long long)done.failed);
}

static PyObject *module_end_with_parent(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    if (prctl(PR_SET_PDEATHSIG, 9) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"serve", module_serve, METH_VARARGS, "Echo on listening sockets until stop_fd is readable."},
    {"serve_ring", module_serve_ring, METH_VARARGS, "Do as serve, on io_uring."},
    {"serve_datagrams", module_serve_datagrams, METH_VARARGS, "Send datagrams back, one by one."},
    {"serve_datagrams_batched", module_serve_datagrams_batched, METH_VARARGS,
     "Send datagrams back, many with one call."},
    {"serve_tls", module_serve_tls, METH_VARARGS, "Do as serve, over TLS 1.3."},
    {"load_tls", module_load_tls, METH_VARARGS, "Load OpenSSL; its version."},
    {"make_certificate", module_make_certificate, METH_NOARGS, "A certificate and its key, DER."},
    {"spawn", module_spawn, METH_VARARGS, "Spawn a program again and again."},
    {"end_with_parent", module_end_with_parent, METH_NOARGS, "Die when the parent process dies."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &client_spec, NULL);
    if (type == NULL || PyModule_AddObjectRef(module, "Client", type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    if (PyModule_AddIntConstant(module, "FAILURE_MISMATCH", FAILURE_MISMATCH) < 0
        || PyModule_AddIntConstant(module, "FAILURE_EOF", FAILURE_EOF) < 0
        || PyModule_AddIntConstant(module, "FAILURE_SURPLUS", FAILURE_SURPLUS) < 0
        || PyModule_AddIntConstant(module, "FAILURE_TIMEOUT", FAILURE_TIMEOUT) < 0
        || PyModule_AddIntConstant(module, "PROGRESS_WORDS", PROGRESS_WORDS) < 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "noria.lab._client",
    .m_doc = "Native load generator and bare echo server of the benchmark lab.",
    .m_methods = module_methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__client(void)
{
    return PyModuleDef_Init(&module_definition);
}
