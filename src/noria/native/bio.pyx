"""Memory of ssl.MemoryBIO, which OpenSSL lets grow and never shrink.

A memory BIO keeps the memory of the largest piece that went through it. OpenSSL has a call that
gives it other memory, BIO_set_mem_buf(3); the ssl module does not. The call is looked up in the
library that the ssl module has loaded, so nothing is linked. Where that cannot be done, because
OpenSSL is part of the interpreter or its objects look otherwise than expected, AVAILABLE is False.
"""

import ssl
import sys

cdef extern from *:
    """
    #include <dlfcn.h>

    /* Modules/_ssl.c of CPython 3.11 to 3.13; the size is compared before it is believed. */
    typedef struct {
        PyObject_HEAD
        void *bio;
        int eof_written;
    } noria_memory_bio;

    /* From openssl/bio.h, unchanged since 1.0. */
    enum { NORIA_PENDING = 10, NORIA_SET_MEMORY = 114 };

    static long (*noria_ctrl)(void *bio, int command, long number, void *pointer);
    static void *(*noria_new_memory)(void);

    static int noria_find_openssl(const char *path) {
        void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
        if (library == NULL) return 0;
        *(void **)&noria_ctrl = dlsym(library, "BIO_ctrl");
        *(void **)&noria_new_memory = dlsym(library, "BUF_MEM_new");
        dlclose(library);
        return noria_ctrl != NULL && noria_new_memory != NULL;
    }

    static long noria_pending(PyObject *bio) {
        return noria_ctrl(((noria_memory_bio *)bio)->bio, NORIA_PENDING, 0, NULL);
    }

    static void noria_shrink(PyObject *bio) {
        void *memory = noria_pending(bio) == 0 ? noria_new_memory() : NULL;
        /* 1: it is freed with the BIO, as what it replaces is now. */
        if (memory != NULL)
            noria_ctrl(((noria_memory_bio *)bio)->bio, NORIA_SET_MEMORY, 1, memory);
    }
    """
    enum:
        NORIA_SIZE "sizeof(noria_memory_bio)"
    int noria_find_openssl(const char *path)
    long noria_pending(object bio)
    void noria_shrink(object bio)


cdef object _MemoryBIO = ssl.MemoryBIO


cpdef object shrink(object bio):
    """Give the memory of an empty MemoryBIO back; of one that holds something, nothing."""
    if type(bio) is _MemoryBIO and AVAILABLE:
        noria_shrink(bio)


def _available():
    import _ssl

    if not (3, 11) <= sys.version_info[:2] <= (3, 13) or _MemoryBIO.__basicsize__ != NORIA_SIZE:
        return False
    path = getattr(_ssl, "__file__", None)
    if path is None or not noria_find_openssl(path.encode()):
        return False
    bio = _MemoryBIO()
    bio.write(b"seventeen bytes..")
    return noria_pending(bio) == bio.pending == 17


AVAILABLE = _available()
