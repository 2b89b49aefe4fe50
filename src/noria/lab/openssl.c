/* What the lab needs of OpenSSL 1.1.1 or 3, found in the libraries of Python's ssl module. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "openssl.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* Numbers of OpenSSL's public interface. They have not changed since 1.1.1 and cannot. */
enum {
    ERROR_WANT_READ = 2,
    ERROR_WANT_WRITE = 3,
    ERROR_SYSCALL = 5,
    ERROR_ZERO_RETURN = 6,
    CTRL_MODE = 33,
    CTRL_READ_AHEAD = 41,
    CTRL_MIN_PROTOCOL = 123,
    TLS_1_3 = 0x0304,
    MODE_PARTIAL_WRITE = 1,
    MODE_MOVING_BUFFER = 2,
    OPTION_IGNORE_UNEXPECTED_EOF = 1 << 7, /* no meaning before 3.0, which reports it as errno 0 */
    KEY_EC = 408,
    STRING_ASCII = 0x1001,
    X509_VERSION_3 = 2
};

#define CIPHER_SUITE "TLS_AES_128_GCM_SHA256"
#define CURVE "P-256"
#define DAY_S 86400L

/* Library, result, name, arguments. */
#define FUNCTIONS(F) \
    F(ssl, const void *, TLS_client_method, (void)) \
    F(ssl, const void *, TLS_server_method, (void)) \
    F(ssl, void *, SSL_CTX_new, (const void *method)) \
    F(ssl, void, SSL_CTX_free, (void *context)) \
    F(ssl, long, SSL_CTX_ctrl, (void *context, int what, long number, void *pointer)) \
    F(ssl, uint64_t, SSL_CTX_set_options, (void *context, uint64_t options)) \
    F(ssl, int, SSL_CTX_set_ciphersuites, (void *context, const char *suites)) \
    F(ssl, int, SSL_CTX_set_num_tickets, (void *context, size_t count)) \
    F(ssl, int, SSL_CTX_use_certificate, (void *context, void *certificate)) \
    F(ssl, int, SSL_CTX_use_PrivateKey, (void *context, void *key)) \
    F(ssl, void *, SSL_new, (void *context)) \
    F(ssl, void, SSL_free, (void *tls)) \
    F(ssl, int, SSL_set_fd, (void *tls, int fd)) \
    F(ssl, void, SSL_set_connect_state, (void *tls)) \
    F(ssl, void, SSL_set_accept_state, (void *tls)) \
    F(ssl, int, SSL_do_handshake, (void *tls)) \
    F(ssl, int, SSL_read, (void *tls, void *bytes, int count)) \
    F(ssl, int, SSL_write, (void *tls, const void *bytes, int count)) \
    F(ssl, int, SSL_has_pending, (const void *tls)) \
    F(ssl, int, SSL_shutdown, (void *tls)) \
    F(ssl, int, SSL_get_error, (const void *tls, int result)) \
    F(crypto, void, ERR_clear_error, (void)) \
    F(crypto, const char *, OpenSSL_version, (int what)) \
    F(crypto, void *, EVP_PKEY_CTX_new_id, (int kind, void *engine)) \
    F(crypto, void, EVP_PKEY_CTX_free, (void *making)) \
    F(crypto, int, EVP_PKEY_keygen_init, (void *making)) \
    F(crypto, int, EVP_PKEY_CTX_ctrl_str, (void *making, const char *name, const char *value)) \
    F(crypto, int, EVP_PKEY_keygen, (void *making, void **key)) \
    F(crypto, void, EVP_PKEY_free, (void *key)) \
    F(crypto, const void *, EVP_sha256, (void)) \
    F(crypto, void *, X509_new, (void)) \
    F(crypto, void, X509_free, (void *certificate)) \
    F(crypto, int, X509_set_version, (void *certificate, long version)) \
    F(crypto, void *, X509_get_serialNumber, (void *certificate)) \
    F(crypto, int, ASN1_INTEGER_set, (void *integer, long value)) \
    F(crypto, void *, X509_getm_notBefore, (const void *certificate)) \
    F(crypto, void *, X509_getm_notAfter, (const void *certificate)) \
    F(crypto, void *, X509_gmtime_adj, (void *time, long seconds)) \
    F(crypto, int, X509_set_pubkey, (void *certificate, void *key)) \
    F(crypto, void *, X509_get_subject_name, (const void *certificate)) \
    F(crypto, int, X509_NAME_add_entry_by_txt, \
      (void *name, const char *field, int kind, const unsigned char *bytes, int count, int place, \
       int set)) \
    F(crypto, int, X509_set_issuer_name, (void *certificate, const void *name)) \
    F(crypto, int, X509_sign, (void *certificate, void *key, const void *digest)) \
    F(crypto, int, i2d_X509, (const void *certificate, unsigned char **out)) \
    F(crypto, int, i2d_PrivateKey, (const void *key, unsigned char **out))

#define DECLARE(library, result, name, arguments) result(*name) arguments;
static struct { FUNCTIONS(DECLARE) int loaded; } with;

const char *lab_tls_load(const char *ssl_path, const char *crypto_path)
{
    if (with.loaded)
        return NULL;
    void *crypto = dlopen(crypto_path, RTLD_NOW | RTLD_LOCAL);
    void *ssl = dlopen(ssl_path, RTLD_NOW | RTLD_LOCAL);
    if (crypto == NULL || ssl == NULL)
        return crypto == NULL ? crypto_path : ssl_path;
        /* A function's address fits into a void * on every system that has dlsym(). */
#define FIND(library, result, name, arguments) \
    if ((*(void **)&with.name = dlsym(library, #name)) == NULL) \
        return #name;
    FUNCTIONS(FIND)
    with.loaded = 1;
    return NULL;
}

int lab_tls_loaded(void)
{
    return with.loaded;
}

const char *lab_tls_version(void)
{
    return with.OpenSSL_version(0);
}

/* ---- certificates ---- */

static void *key_new(void)
{
    void *key = NULL, *making = with.EVP_PKEY_CTX_new_id(KEY_EC, NULL);
    if (making == NULL || with.EVP_PKEY_keygen_init(making) <= 0
        || with.EVP_PKEY_CTX_ctrl_str(making, "ec_paramgen_curve", CURVE) <= 0
        || with.EVP_PKEY_keygen(making, &key) <= 0)
        key = NULL;
    with.EVP_PKEY_CTX_free(making);
    return key;
}

/* A certificate that its own key has signed; nobody checks more of it than that. */
static void *certificate_new(void *key)
{
    void *certificate = with.X509_new();
    if (certificate == NULL)
        return NULL;
    void *name = with.X509_get_subject_name(certificate);
    if (with.X509_set_version(certificate, X509_VERSION_3)
        && with.ASN1_INTEGER_set(with.X509_get_serialNumber(certificate), 1)
        && with.X509_gmtime_adj(with.X509_getm_notBefore(certificate), -DAY_S)
        && with.X509_gmtime_adj(with.X509_getm_notAfter(certificate), 7 * DAY_S)
        && with.X509_set_pubkey(certificate, key)
        && with.X509_NAME_add_entry_by_txt(name, "CN", STRING_ASCII,
                                           (const unsigned char *)"localhost", -1, -1, 0)
        && with.X509_set_issuer_name(certificate, name)
        && with.X509_sign(certificate, key, with.EVP_sha256()))
        return certificate;
    with.X509_free(certificate);
    return NULL;
}

static int encode(int (*encoder)(const void *, unsigned char **), const void *what,
                  uint8_t **bytes, size_t *count)
{
    int needed = encoder(what, NULL);
    if (needed <= 0 || (*bytes = malloc((size_t)needed)) == NULL)
        return -1;
    unsigned char *end = *bytes;
    *count = (size_t)encoder(what, &end);
    return 0;
}

int lab_tls_make_certificate(uint8_t **certificate, size_t *certificate_bytes, uint8_t **key,
                             size_t *key_bytes)
{
    void *secret = key_new();
    void *made = secret ? certificate_new(secret) : NULL;
    int result = -1;
    *certificate = NULL;
    *key = NULL;
    if (made && encode(with.i2d_X509, made, certificate, certificate_bytes) == 0)
        result = encode(with.i2d_PrivateKey, secret, key, key_bytes);
    if (result < 0)
        free(*certificate);
    with.X509_free(made);
    with.EVP_PKEY_free(secret);
    with.ERR_clear_error();
    return result;
}

/* ---- contexts ---- */

static void *context_new(const void *method)
{
    void *context = with.SSL_CTX_new(method);
    if (context == NULL)
        return NULL;
    with.SSL_CTX_set_options(context, OPTION_IGNORE_UNEXPECTED_EOF);
    with.SSL_CTX_ctrl(context, CTRL_MODE, MODE_PARTIAL_WRITE | MODE_MOVING_BUFFER, NULL);
    with.SSL_CTX_ctrl(context, CTRL_READ_AHEAD, 1, NULL);
    if (with.SSL_CTX_ctrl(context, CTRL_MIN_PROTOCOL, TLS_1_3, NULL)
        && with.SSL_CTX_set_ciphersuites(context, CIPHER_SUITE))
        return context;
    with.SSL_CTX_free(context);
    return NULL;
}

void *lab_tls_client_context(void)
{
    return context_new(with.TLS_client_method()); /* which verifies nobody */
}

void *lab_tls_server_context(void)
{
    void *context = context_new(with.TLS_server_method());
    void *key = key_new();
    void *certificate = key ? certificate_new(key) : NULL;
    if (context
        && !(certificate && with.SSL_CTX_set_num_tickets(context, 0)
             && with.SSL_CTX_use_certificate(context, certificate)
             && with.SSL_CTX_use_PrivateKey(context, key))) {
        with.SSL_CTX_free(context);
        context = NULL;
    }
    with.X509_free(certificate);
    with.EVP_PKEY_free(key);
    with.ERR_clear_error();
    return context;
}

void lab_tls_context_free(void *context)
{
    with.SSL_CTX_free(context);
}

/* ---- connections ---- */

static void *tls_new(void *context, int fd)
{
    void *tls = with.SSL_new(context);
    if (tls && !with.SSL_set_fd(tls, fd)) {
        with.SSL_free(tls);
        tls = NULL;
    }
    return tls;
}

void *lab_tls_connect(void *context, int fd)
{
    void *tls = tls_new(context, fd);
    if (tls)
        with.SSL_set_connect_state(tls);
    return tls;
}

void *lab_tls_accept(void *context, int fd)
{
    void *tls = tls_new(context, fd);
    if (tls)
        with.SSL_set_accept_state(tls);
    return tls;
}

void lab_tls_free(void *tls)
{
    with.SSL_free(tls);
}

/* What a result of 0 or less means: 0 at the end of the other side, else -1 with errno. */
static int outcome(void *tls, int result)
{
    int left = errno;
    int error = with.SSL_get_error(tls, result);
    if (error == ERROR_ZERO_RETURN)
        return 0;
    if (error == ERROR_WANT_READ || error == ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    with.ERR_clear_error(); /* what is left there would be taken for the next call's error */
    if (error == ERROR_SYSCALL && left == 0)
        return 0;
    errno = error == ERROR_SYSCALL ? left : EPROTO;
    return -1;
}

int lab_tls_handshake(void *tls)
{
    errno = 0;
    int result = with.SSL_do_handshake(tls);
    if (result == 1)
        return 0;
    if (outcome(tls, result) == 0)
        errno = EPROTO; /* an end in the middle of a handshake */
    return -1;
}

ssize_t lab_tls_read(void *tls, uint8_t *bytes, size_t count)
{
    errno = 0;
    int result = with.SSL_read(tls, bytes, count > INT_MAX ? INT_MAX : (int)count);
    return result > 0 ? result : outcome(tls, result);
}

ssize_t lab_tls_write(void *tls, const uint8_t *bytes, size_t count)
{
    errno = 0;
    int result = with.SSL_write(tls, bytes, count > INT_MAX ? INT_MAX : (int)count);
    if (result > 0)
        return result;
    if (outcome(tls, result) == 0)
        errno = EPIPE;
    return -1;
}

int lab_tls_pending(void *tls)
{
    return with.SSL_has_pending(tls);
}

void lab_tls_say_goodbye(void *tls)
{
    if (with.SSL_shutdown(tls) < 0)
        with.ERR_clear_error();
}
#endif
