/* TLS for the load generator and the bare server, by the OpenSSL that Python's own ssl module uses.
 * It is loaded at run time, and what is needed of it is declared in openssl.c: no headers of it are
 * needed to build, and no second library is in the process. */
#ifndef NORIA_LAB_OPENSSL_H
#define NORIA_LAB_OPENSSL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Loads the two libraries, once. NULL, or what is missing. Everything else here comes after it. */
const char *lab_tls_load(const char *ssl_path, const char *crypto_path);
int lab_tls_loaded(void);
const char *lab_tls_version(void);

/* Contexts of TLS 1.3 with one cipher suite and no resumption; NULL where OpenSSL refuses. That of
 * a server has a certificate made for it. */
void *lab_tls_client_context(void);
void *lab_tls_server_context(void);
void lab_tls_context_free(void *context);

/* A connection on a non-blocking socket; NULL without memory. Freeing it closes nothing. */
void *lab_tls_connect(void *context, int fd);
void *lab_tls_accept(void *context, int fd);
void lab_tls_free(void *tls);

/* Do as recv() and send(): bytes, 0 at the end, or -1 with errno, which is EAGAIN where the socket
 * has to be waited for and EPROTO where the other side breaks the protocol. 0 is success for a
 * handshake. */
int lab_tls_handshake(void *tls);
ssize_t lab_tls_read(void *tls, uint8_t *bytes, size_t count);
ssize_t lab_tls_write(void *tls, const uint8_t *bytes, size_t count);

/* Are there bytes inside that no event of the socket will tell of? */
int lab_tls_pending(void *tls);
void lab_tls_say_goodbye(void *tls);

/* Makes a certificate that is valid for a week, and its key, in DER; the caller frees both. 0, or
 * -1. */
int lab_tls_make_certificate(uint8_t **certificate, size_t *certificate_bytes, uint8_t **key,
                             size_t *key_bytes);

#endif
