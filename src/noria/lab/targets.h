/* Targets of the load generator, from what Python says: (host, port) or the path of a Unix socket.
 * Part of module.c, which alone includes it. */
#ifndef NORIA_LAB_TARGETS_H
#define NORIA_LAB_TARGETS_H

#include <Python.h>

#include "native.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static int target_from_path(struct lab_target *target, const char *path, Py_ssize_t length)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&target->address;
    if (length == 0 || (size_t)length >= sizeof(address->sun_path)) {
        PyErr_SetString(PyExc_ValueError, "a Unix socket path must have 1 to 107 bytes");
        return -1;
    }
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, (size_t)length);
    target->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length
                                 + (path[0] != '\0'));
    return 0;
}

static int target_from_host(struct lab_target *target, const char *host, int port)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&target->address;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&target->address;
    if (port < 1 || port > 65535) {
        PyErr_Format(PyExc_ValueError, "port %d is not in 1..65535", port);
        return -1;
    }
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1
        && (ntohl(four->sin_addr.s_addr) >> 24) == 127) {
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
        target->length = sizeof(*four);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &six->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&six->sin6_addr)) {
        six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        target->length = sizeof(*six);
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "%s is not a loopback address, and no other is used", host);
    return -1;
}

static int target_from_python(struct lab_target *target, PyObject *item)
{
    const char *host;
    int port, result;
    memset(target, 0, sizeof(*target));
    if (PyUnicode_Check(item)) {
        PyObject *encoded = PyUnicode_EncodeFSDefault(item);
        char *path;
        Py_ssize_t length;
        if (encoded == NULL)
            return -1;
        result = PyBytes_AsStringAndSize(encoded, &path, &length);
        if (result == 0)
            result = target_from_path(target, path, length);
        Py_DECREF(encoded);
        return result;
    }
    if (!PyTuple_Check(item)) {
        PyErr_SetString(PyExc_TypeError, "a target is (host, port) or the path of a Unix socket");
        return -1;
    }
    if (!PyArg_ParseTuple(item, "si", &host, &port))
        return -1;
    return target_from_host(target, host, port);
}

static int targets_from_python(struct lab_client *client, PyObject *targets)
{
    Py_ssize_t count = PySequence_Size(targets);
    if (count < 0)
        return -1;
    if (count == 0) {
        PyErr_SetString(PyExc_ValueError, "at least one target is needed");
        return -1;
    }
    client->targets = calloc((size_t)count, sizeof(*client->targets));
    if (client->targets == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    client->target_count = (size_t)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PySequence_GetItem(targets, i);
        if (item == NULL)
            return -1;
        int result = target_from_python(&client->targets[i], item);
        Py_DECREF(item);
        if (result < 0)
            return -1;
    }
    return 0;
}

#endif
