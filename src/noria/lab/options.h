/* Bounds of what Python may ask for, and the checks of it. Part of module.c, which alone includes
 * it. */
#ifndef NORIA_LAB_OPTIONS_H
#define NORIA_LAB_OPTIONS_H

#include <Python.h>

#include "native.h"
#include "openssl.h"

#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 86400.0
#define RESEND_SECONDS_MIN 0.001
#define DATAGRAM_BYTES_MIN 8 /* a datagram begins with its number */
#define DATAGRAM_BYTES_MAX 65507 /* of UDP over IPv4 */
#define TRAIN_MAX 63          /* one more than these is what the kernel cuts at once */
#define TRAIN_SIZE_BYTES_MIN 32 /* longer than what ends a train */
#define TRAIN_BYTES_MAX 65000
#define PARALLEL_MAX 256
#define SIZE_BYTES_MAX (1 << 20)
#define DEPTH_MAX 1024
#define CONNECTIONS_MAX 1000000
#define SAMPLES_MAX (1 << 24)
#define LISTENERS_MAX 256
#define SOURCES_MAX 65000 /* what follows 127.1.0.1 without leaving 127.1.0.0/16 */

static int check_range(const char *name, Py_ssize_t value, Py_ssize_t low, Py_ssize_t high)
{
    if (value >= low && value <= high)
        return 0;
    PyErr_Format(PyExc_ValueError, "%s is %zd, not in %zd..%zd", name, value, low, high);
    return -1;
}

static int check_seconds(const char *name, double value, uint64_t *ns)
{
    if (!(value >= 0.0 && value <= SECONDS_MAX)) {
        PyErr_Format(PyExc_ValueError, "%s must be 0..86400 seconds", name);
        return -1;
    }
    *ns = (uint64_t)(value * 1e9);
    return 0;
}

static int bytes_copy(uint8_t **into, size_t *count, const char *bytes, Py_ssize_t size)
{
    if (bytes == NULL)
        return 0;
    *into = malloc(size ? (size_t)size : 1);
    if (*into == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(*into, bytes, (size_t)size);
    *count = (size_t)size;
    return 0;
}

/* Request and response that are no echo. */
static int exchange_copy(struct lab_client *client, const char *request, Py_ssize_t request_bytes,
                         const char *response, Py_ssize_t response_bytes)
{
    if ((request == NULL) != (response == NULL)) {
        PyErr_SetString(PyExc_ValueError, "a request needs its response, and the reverse");
        return -1;
    }
    if (request == NULL)
        return 0;
    if (client->datagrams) {
        PyErr_SetString(PyExc_ValueError, "datagrams are always echoes");
        return -1;
    }
    if (check_range("the size of request", request_bytes, 1, SIZE_BYTES_MAX) < 0
        || check_range("the size of response", response_bytes, 1, SIZE_BYTES_MAX) < 0)
        return -1;
    if (bytes_copy(&client->request, &client->request_bytes, request, request_bytes) < 0)
        return -1;
    return bytes_copy(&client->response, &client->response_bytes, response, response_bytes);
}

static int train_check(struct lab_client *client, Py_ssize_t train, int back, Py_ssize_t depth_max)
{
    if (check_range("train", train, 0, TRAIN_MAX) < 0)
        return -1;
    if ((train || back) && !(client->datagrams && train && depth_max == 1)) {
        PyErr_SetString(PyExc_ValueError, "trains are of datagrams, one at a time");
        return -1;
    }
    client->train = (size_t)train;
    client->train_back = back;
    return 0;
}

static int tls_check(int wanted, int datagrams)
{
    if (wanted && datagrams) {
        PyErr_SetString(PyExc_ValueError, "there is no TLS over datagrams");
        return -1;
    }
    if (wanted && !lab_tls_loaded()) {
        PyErr_SetString(PyExc_RuntimeError, "load_tls comes before TLS");
        return -1;
    }
    return 0;
}

#endif
