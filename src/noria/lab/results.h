/* What a phase did, as Python sees it. Part of module.c, which alone includes it. */
#ifndef NORIA_LAB_RESULTS_H
#define NORIA_LAB_RESULTS_H

#include <Python.h>

#include "native.h"

static int set_item(PyObject *into, const char *name, PyObject *value)
{
    if (value == NULL)
        return -1;
    int result = PyDict_SetItemString(into, name, value);
    Py_DECREF(value);
    return result;
}

static PyObject *failures_as_dict(const struct lab_result *result)
{
    PyObject *failures = PyDict_New();
    if (failures == NULL)
        return NULL;
    for (int code = 0; code < FAILURE_SLOTS; code++) {
        if (result->failures[code] == 0)
            continue;
        PyObject *key = PyLong_FromLong(code);
        PyObject *value = PyLong_FromUnsignedLongLong(result->failures[code]);
        int failed = key == NULL || value == NULL || PyDict_SetItem(failures, key, value) < 0;
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (failed) {
            Py_DECREF(failures);
            return NULL;
        }
    }
    return failures;
}

static PyObject *mismatch_as_tuple(const struct lab_mismatch *mismatch)
{
    if (mismatch->connection < 0)
        return Py_NewRef(Py_None);
    return Py_BuildValue("(LKKii)", (long long)mismatch->connection,
                         (unsigned long long)mismatch->request,
                         (unsigned long long)mismatch->offset, mismatch->expected, mismatch->got);
}

static PyObject *result_as_dict(struct lab_client *client)
{
    const struct lab_result *result = &client->result;
    const struct { const char *name; uint64_t value; } numbers[] = {
        {"elapsed_ns", result->elapsed_ns},     {"connections", result->connections},
        {"requests", result->requests},         {"bytes", result->bytes},
        {"polls", result->polls},               {"empty_polls", result->empty_polls},
        {"retries", result->retries},           {"lost", result->lost},
        {"duplicates", result->duplicates},     {"sleeps", result->sleeps},
        {"preemptions", result->preemptions},   {"worst_ns", result->worst_ns},
        {"samples_seen", result->samples_seen}, {"alive", lab_client_alive(client)},
    };
    PyObject *into = PyDict_New();
    if (into == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (set_item(into, numbers[i].name, PyLong_FromUnsignedLongLong(numbers[i].value)) < 0)
            goto fail;
    size_t sample_bytes = result->samples_kept * sizeof(uint32_t);
    PyObject *samples =
        PyBytes_FromStringAndSize((const char *)client->samples, (Py_ssize_t)sample_bytes);
    if (set_item(into, "samples_ns", samples) < 0
        || set_item(into, "failures", failures_as_dict(result)) < 0
        || set_item(into, "mismatch", mismatch_as_tuple(&client->mismatch)) < 0)
        goto fail;
    return into;
fail:
    Py_DECREF(into);
    return NULL;
}

#endif
