/* What the C files of the lab share: load generator and bare echo servers, no Python. */
#ifndef NORIA_LAB_NATIVE_H
#define NORIA_LAB_NATIVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Failures are counted in one array: slot n below FAILURE_OWN is errno n, the others are here. */
enum {
    FAILURE_OWN = 200,
    FAILURE_MISMATCH = 200, /* an echoed byte is not the one that was sent */
    FAILURE_EOF = 201,      /* the server closed a connection that was still wanted */
    FAILURE_SURPLUS = 202,  /* bytes arrived that nobody asked for */
    FAILURE_TIMEOUT = 203,  /* no answer within the time allowed */
    FAILURE_SLOTS = 204
};

/* Words of the block a driver may watch while a phase runs. */
enum {
    PROGRESS_PHASE,
    PROGRESS_CONNECTED,
    PROGRESS_ANSWERED,
    PROGRESS_FAILURES,
    PROGRESS_BYTES,
    PROGRESS_ALIVE,
    PROGRESS_WORDS = 8
};

/* States of a connection. */
enum { CLOSED, CONNECTING, PUT_OFF, SHAKING_HANDS, READY, CLOSING };

enum { PHASE_NONE, PHASE_CONNECT, PHASE_ECHO, PHASE_IDLE, PHASE_DISCONNECT, PHASE_CHURN };

struct lab_target {
    struct sockaddr_storage address;
    socklen_t length;
};

struct lab_connection {
    void *tls;             /* NULL where bytes go as they are */
    int fd;
    uint8_t state;
    uint8_t active;        /* takes part in the running phase */
    uint8_t sending;       /* a request is only partly handed to the kernel */
    uint8_t unanswered;    /* no byte has come back yet since connect() */
    uint8_t busy;          /* counted in the client's busy connections */
    uint8_t broken;        /* the train that is coming in lacks something */
    uint32_t sent_bytes;   /* of the request being sent */
    uint32_t got_bytes;    /* of the answer being received; of a train, the datagrams */
    uint64_t sent;         /* requests wholly handed to the kernel, since connect() */
    uint64_t answered;     /* requests wholly answered, since connect(); of datagrams the first
                            * that is not, which those after it need not await */
    uint64_t issued;       /* requests begun in the running phase */
    uint64_t connect_ns;   /* when connect() was first called */
    uint64_t earlier;      /* requests that were sent from this place before connect() */
};

struct lab_mismatch {
    int64_t connection; /* -1: none seen */
    uint64_t request;
    uint64_t offset;
    int expected;
    int got;
};

/* What one phase did; times are nanoseconds of CLOCK_MONOTONIC. */
struct lab_result {
    uint64_t elapsed_ns;
    uint64_t connections; /* connected, active, held, ended or through: see the phase */
    uint64_t requests;    /* answered, every byte checked */
    uint64_t bytes;       /* received and checked */
    uint64_t polls;
    uint64_t empty_polls;
    uint64_t retries;      /* connects put off because a Unix socket's backlog was full */
    uint64_t lost;         /* datagrams without an answer in time, each sent again */
    uint64_t duplicates;   /* answers to datagrams that had one */
    uint64_t sleeps;       /* voluntary context switches of this thread; 0 where it busy-polls */
    uint64_t preemptions;  /* involuntary ones: others wanted this core */
    uint64_t worst_ns;
    uint64_t samples_seen;
    uint64_t samples_kept;
    uint64_t failures[FAILURE_SLOTS];
};

/* Returns nonzero when the phase shall end early. Called about ten times per second. */
typedef int (*lab_interrupted)(void *argument);

struct lab_client {
    struct lab_target *targets;
    size_t target_count;
    struct lab_connection *connections;
    size_t connection_count;
    uint64_t *sent_ns;     /* connection_count x depth_max start times; of datagrams 0: answered */
    uint8_t *table;        /* the random bytes that requests are cut from */
    uint8_t *hot;          /* the one receive buffer */
    uint32_t *samples;
    size_t samples_max;
    size_t size_max;
    size_t depth_max;
    uint64_t seed;
    int datagrams;         /* connections are connected sockets of datagrams */
    uint64_t resend_ns;    /* how long the answer of a datagram is awaited before it goes again */
    uint64_t looked_ns;    /* when those that got none were last looked for */
    uint8_t *datagram;     /* the one that is being sent */
    size_t train;          /* datagrams of a train, 0: there are no trains */
    int train_back;        /* trains come from the server */
    int train_singly;      /* the kernel does not cut, so each datagram is sent by itself */
    uint8_t *train_bytes;  /* those of a train */
    void *tls_context;     /* NULL: no TLS */
    uint8_t *request;      /* what is sent where that is no echo, else NULL */
    size_t request_bytes;
    uint8_t *response;     /* what has to come back for it, byte for byte */
    size_t response_bytes;
    uint64_t reservoir;    /* state of the generator that picks samples to keep */
    int epoll_fd;
    volatile uint64_t *progress;
    uint64_t progress_own[PROGRESS_WORDS];
    lab_interrupted interrupted;
    void *interrupted_argument;
    /* The running phase. */
    int phase;
    int stopping;          /* begin no further request */
    size_t size;           /* bytes of a request */
    size_t answer_size;    /* bytes of its answer */
    size_t depth;
    uint64_t requests_max; /* per connection, 0: no limit */
    size_t busy;           /* connections that owe an answer, or a connect */
    size_t sources;        /* addresses to connect from in turn, 0: the kernel's choice */
    size_t source_next;    /* whose turn it is */
    int half_close;        /* of a churn */
    struct lab_result result;
    struct lab_mismatch mismatch;
};

struct lab_echo {
    uint64_t duration_ns;
    uint64_t drain_ns;
    size_t first;
    size_t active;
    size_t size;
    size_t depth;
    uint64_t requests_max;
    size_t ramp;           /* connections started per turn, 0: all at once */
};

struct lab_churn {
    uint64_t duration_ns;
    uint64_t drain_ns;
    size_t parallel;       /* connections at a time */
    size_t size;
    size_t sources;
    int half_close;        /* await the server's end of each connection before closing it */
};

uint64_t lab_now_ns(void);
int lab_client_init(struct lab_client *client);
void lab_client_clear(struct lab_client *client);
size_t lab_client_alive(const struct lab_client *client);
void lab_client_connect(struct lab_client *client, size_t count, size_t parallel, size_t size,
                        uint64_t timeout_ns);
void lab_client_echo(struct lab_client *client, const struct lab_echo *echo);
void lab_client_churn(struct lab_client *client, const struct lab_churn *churn);
void lab_client_idle(struct lab_client *client, uint64_t duration_ns);
void lab_client_disconnect(struct lab_client *client, uint64_t timeout_ns);
void lab_client_abort(struct lab_client *client);

/* Echoes on every listener until stop_fd is readable or hung up. 0, or minus errno. */
int lab_serve(const int *listeners, size_t listener_count, int stop_fd);

/* The same on io_uring; -ENOSYS, -EPERM or -EINVAL where it cannot be used. */
int lab_serve_ring(const int *listeners, size_t listener_count, int stop_fd);

/* Sends back each datagram that these bound sockets receive: one per call, or many (recvmmsg). */
int lab_serve_datagrams(const int *sockets, size_t socket_count, int stop_fd);
int lab_serve_datagrams_batched(const int *sockets, size_t socket_count, int stop_fd);

/* Does as lab_serve over TLS 1.3; lab_tls_load comes first. */
int lab_serve_tls(const int *listeners, size_t listener_count, int stop_fd);

struct lab_spawned {
    uint64_t elapsed_ns;
    uint64_t cpu_ns;          /* of this process */
    uint64_t children_cpu_ns; /* of the processes that were awaited */
    uint64_t spawned;
    uint64_t failed;          /* ended with another code than 0 */
};

/* Spawns a program again and again, `parallel` at a time, and awaits each. 0, or minus errno. */
int lab_spawn(const char *path, uint64_t duration_ns, size_t parallel, struct lab_spawned *result);

#endif
