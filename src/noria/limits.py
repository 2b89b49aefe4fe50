"""Every bound and default of noria, with its unit in the name.

Numbers that two rooms share, or that a user may want to know, stand here and nowhere else.
"""

from typing import Final

# -- one turn of the loop -------------------------------------------------------------------
READY_TURNS_MAX: Final = 64
"""Generations of ready callbacks that may run without a look at I/O, signals and the inbox."""

READY_BURST_NS_MAX: Final = 1_000_000
"""Time after which such a burst ends early (checked between generations), in nanoseconds."""

SPARE_HANDLES_MAX: Final = 256
"""Handles kept for reuse by a loop, about 30 KiB."""

COMPLETIONS_PER_POLL_MAX: Final = 32
"""Completions that one poll hands over before the loop runs callbacks again.

More would not be cheaper: what was received waits in memory that has left the nearest cache by the
time its reader runs (streams at 1 KiB cost 5 % more CPU with 64).
"""

COMPLETION_BYTES_PER_POLL_MAX: Final = 64 * 1024
"""Received bytes after which one poll stops collecting; bounds memory and keeps caches warm."""

RECEIVE_BYTES_PER_TURN_MAX: Final = 256_000
"""Bytes after which a connection that receives lets the others have their turn."""

DATAGRAMS_PER_TURN_MAX: Final = 64
"""Datagrams after which an endpoint that receives lets the others have their turn."""

ACCEPTS_PER_TURN_MAX: Final = 64
"""Connections that one listener accepts before other descriptors have had their turn."""

POLL_EVENTS_MAX: Final = 1024
"""News fetched from the kernel by one wait."""

POLL_TIMEOUT_NS_MAX: Final = 24 * 3600 * 1_000_000_000
"""Longest single wait; older kernels overflow on more. The loop waits again."""

SELECT_NUMBER_MAX: Final = 1024
"""Descriptor numbers that select(2) takes, FD_SETSIZE of every Unix that CPython runs on."""

SELECT_SOCKETS_MAX: Final = 512
"""Sockets that select takes on Windows, FD_SETSIZE that CPython is built with there."""

# -- receiving and sending ------------------------------------------------------------------
RECEIVE_BYTES: Final = 256_000
"""Bytes asked for by one receive of a stream transport.

Not a power of two: what is sent on as it was received would then end in a tiny segment of its own
(256 KiB are four segments of the loopback interface and 212 bytes), which costs the echo of a
mebibyte 40 % more.
"""

PIPE_READ_BYTES: Final = 256 * 1024
"""Most bytes read from a pipe in one turn, as in asyncio; a pipe holds 64 KiB by default."""

PIPE_SMALL_BYTES: Final = 16 * 1024
"""After less than this the next read asks for no more, and not how much there is."""

PIPE_DEFAULT_BYTES: Final = 64 * 1024
"""What a pipe holds on Linux, pipe(7)."""

PIPE_GROWN_BYTES: Final = 128 * 1024
"""What a child's pipe holds once more than a default one came through it at a time. Whoever is not
privileged may have 64 MiB of pipes by default (pipe-user-pages-soft), so not more than that."""

PIPE_LAST_READS_MAX: Final = 16
"""Reads from a pipe when its child has ended; what somebody else goes on writing comes in turn."""

RECEIVE_LARGE_BYTES: Final = 8 * 1024
"""A receive expected to bring as much goes straight into its own object instead of being copied."""

RECEIVE_SLACK_BYTES: Final = 1024
"""Room beyond what the last receive brought, so that the next of its size is seen to be short."""

VAIN_RECEIVES_MIN: Final = 3
"""Receives in a row on a user's socket that found nothing, after which the next one begins by
waiting. It saves a system call, and costs a turn of the loop where there is something after all."""

VAIN_RECEIVES_MAX: Final = 32
"""Such receives after which one is tried at once again."""

DEFERRED_SEND_BYTES_MAX: Final = 4 * 1024
"""Bytes that a connection may let wait for the end of the turn, on an engine that defers."""

SPARE_SENDS_MAX: Final = 256
"""Send operations kept for reuse by a loop, about 40 KiB."""

SEND_VECTOR_MAX: Final = 64
"""Chunks handed to one vectored send; VECTOR_MAX of native/sockets.pyx holds the same number."""

SENDFILE_BYTES_PER_ATTEMPT_MAX: Final = 1024 * 1024
"""Bytes of a file that one connection sends before others have their turn."""

SENDFILE_CHUNK_BYTES: Final = 64 * 1024
"""Bytes read at a time from a file that the kernel cannot send by itself."""

DATAGRAMS_PER_RECEIVE_MAX: Final = 16
"""Datagrams taken from a socket by one call; native/datagrams.pyx has memory for as many.

More would gain nothing: of the cost of a call a sixteenth is left for each, and what was received
waits in memory that has left the nearest cache by the time it is read.
"""

DATAGRAMS_COLLECTED_MAX: Final = 32
"""Datagrams that wait for the end of the batch their senders are called for; then they all go."""

DATAGRAM_BYTES_COLLECTED_MAX: Final = 64 * 1024
"""Bytes of such datagrams."""

DATAGRAM_HEADER_BYTES: Final = 8
"""What a datagram counts in the write buffer beyond its data since Python 3.13, as in asyncio."""

DATAGRAM_RETRY_SECONDS_MIN: Final = 0.001
"""Pause before a datagram is tried again that the kernel refused right after saying it had room.

So it is with an unconnected Unix socket: it is writable, but its receiver's queue is full.
"""

DATAGRAM_RETRY_SECONDS_MAX: Final = 0.05
"""Longest such pause; it doubles each time."""

SEGMENTS_MAX: Final = 64
"""Datagrams in one send with UDP_SEGMENT, UDP_MAX_SEGMENTS of Linux before 6.9."""

SEGMENTS_BYTES_MAX: Final = 65_000
"""Bytes in one such send; with headers of any length it has to stay below 64 KiB."""

WRITE_HIGH_WATER_BYTES: Final = 64 * 1024
"""Default high-water mark of a transport's write buffer, as in asyncio."""

WRITES_AFTER_LOSS_LOGGED: Final = 5
"""Writes to a lost connection that pass silently before a warning is logged, as in asyncio."""

# -- TLS ------------------------------------------------------------------------------------
TLS_RECORD_BYTES_MAX: Final = 16 * 1024
"""Bytes that a record holds at most (RFC 8446, 5.1), and that are encrypted into one."""

TLS_RECORD_BYTES_SMALL: Final = 8 * 1024
"""The same where the memory of a BIO cannot be given back (native/bio.pyx).

The memory BIO of an SSLObject stays as large as the largest piece that went through it, times 4/3:
records of the full size would leave 21 KiB behind in each direction of each connection. Halves take
a fifth more time to encrypt, and of a received record the first half is a step of its own.
"""

TLS_BIO_BYTES_KEPT: Final = 4 * 1024
"""Memory that a BIO may keep between two uses."""

TLS_DELIVERY_BYTES_MAX: Final = 128_000
"""Decrypted bytes handed to a protocol at once: a large record's worth at least, and less than what
malloc takes from the kernel each time (M_MMAP_THRESHOLD, mallopt(3))."""

TLS_BATCH_BYTES: Final = 128 * 1024
"""Encrypted bytes collected before they are handed to the transport below, in bytes."""

TLS_WRITE_HIGH_WATER_BYTES: Final = 512 * 1024
"""Default high-water mark of a TLS transport's write buffer, as in asyncio."""

TLS_HANDSHAKE_SECONDS: Final = 60.0
"""Default time that a handshake may take, as in asyncio."""

TLS_SHUTDOWN_SECONDS: Final = 30.0
"""Default time that a closing connection waits for its peer, as in asyncio."""

# -- the ring -------------------------------------------------------------------------------
RING_ENTRIES: Final = 256
"""Requests that a ring takes between two calls; more make a call in between."""

RING_COMPLETIONS: Final = 4096
"""Completions that fit a ring; the kernel keeps the rest until there is room."""

RING_BUFFER_BYTES: Final = 4096
"""Bytes of one provided buffer. A receive that fills it goes on by readiness."""

RING_BUFFERS_MIN: Final = 64
"""Provided buffers of a new ring, and by how many they grow when they run out."""

RING_BUFFERS_MAX: Final = 128
"""Most provided buffers of a ring: 512 KiB.

More cost more, as they leave the nearest caches before they are used again: at 3,800 connections
that all speak 128 take 0.92 of the CPU that 1024 take, 64 take 0.95, and 32, all of them in use in
each poll, 1.10.
"""

RING_WORKERS_MAX: Final = 8
"""Threads of the kernel that do what blocks for a ring, on files and on other descriptors each."""

RING_CHANGES_MAX: Final = RING_WORKERS_MAX // 2
"""Changes of one file, writes and fsync among them, that the ring does at a time."""

UNASKED_CANCELS_MAX: Final = 1
"""How often in a row the kernel may cancel a request by itself before that is a failure."""

SMALL_RECEIVES_MIN: Final = 16
"""Small receives in a row after which the ring gets a connection back."""

RING_TRIAL_NS_MAX: Final = 1_000_000
"""Longest wait for a completion when a ring is tried, in nanoseconds."""

TAKE_BACK_CALLS_MAX: Final = 4
"""Calls in which a request has to end so that its descriptor is closed at once, not later."""

PARK_TURNS_MAX: Final = 100_000
"""Calls that parking a ring may need until nothing is in flight; more is a bug."""

# -- accepting ------------------------------------------------------------------------------
ACCEPT_RETRY_SECONDS: Final = 1.0
"""Pause of a listener after EMFILE, ENFILE, ENOBUFS or ENOMEM, as in asyncio."""

LISTEN_BACKLOG: Final = 100
"""Default backlog of a listening socket, as in asyncio."""

# -- timers ---------------------------------------------------------------------------------
TIMERS_CANCELLED_MIN: Final = 100
"""Cancelled timers that must lie in the heap before a clean-up is considered."""

TIMERS_CANCELLED_FRACTION: Final = 0.5
"""Share of cancelled timers that starts a clean-up of the heap."""

# -- threads --------------------------------------------------------------------------------
OFFLOAD_DATA_THREADS_MAX: Final = 384
"""Threads of the disk backend `threads` that move data.

Each has one request with the device, so 256 requests at a time need as many; the rest is for what
hangs. Threads of C are cheap: they start on demand, and their stacks are small.
"""

OFFLOAD_BULK_THREADS_MAX: Final = 128
"""Those of them that may do something else than read, so that no fsync holds up a read."""

OFFLOAD_NAMES_THREADS_MAX: Final = 96
"""Threads for names and for several steps at once: 64 that hang leave 32 for the others."""

OFFLOAD_WAITING_THREADS_MAX: Final = 128
"""Threads for what may wait for ever: 64 that do leave as many for the others."""

OFFLOAD_QUEUE_MAX: Final = 4096
"""Operations that may wait for a thread of one crew; one more is refused with EAGAIN."""

OFFLOAD_IDLE_SECONDS: Final = 10.0
"""How long such a thread waits for work before it ends."""

OFFLOAD_WATCH_NS: Final = 50_000
"""How long a thread without work, and a loop that would sleep until one is done, watch for that
before they fall asleep, in nanoseconds: about what falling asleep and being called cost. They stop
watching where it does not pay, and never begin on a single processor."""

OFFLOAD_CLOSE_SECONDS: Final = 5.0
"""How long closing waits for operations that run; a disk that is stuck may never answer."""

OFFLOAD_STACK_BYTES: Final = 256 * 1024
"""Stack of a thread of C's; it calls the kernel and little else."""

AIO_EVENTS: Final = 512
"""Requests that a context of the kernel's AIO has room for; all contexts of a system share
fs.aio-max-nr, 65,536 by default. What does not fit waits in a queue of OFFLOAD_QUEUE_MAX."""

POSIX_AIO_CHECK_SECONDS: Final = 0.02
"""How often `posix_aio` asks for ends that were not told, for lack of a signal or a thread."""

POSIX_AIO_SUSPEND_SECONDS: Final = 0.001
"""How long a request may have to wait until aio_suspend learns of it, where that is waited in."""

RESOLVER_THREADS_MAX: Final = 8
"""Threads that resolve names, apart from the user's executor."""

TRANSFER_BYTES_MAX: Final = 0x7FFFF000
"""Most bytes one read or write moves on Linux (read(2), NOTES); larger requests are shortened."""

INLINE_HITS_MAX: Final = 64
"""Reads from the page cache that are answered at once before the reader has to let others run."""

LOOK_LUCK_MAX: Final = 256
"""Share of the latest looks into the page cache that found all, in 256ths: every one of them."""

LOOK_LUCK_MIN: Final = 32
"""Below this share a look costs more than it saves; a single find brings it back."""

LOOK_BYTES_MAX: Final = 1024 * 1024
"""Longest read that is answered at once if it is cached; copied in about a hundred microseconds."""

LOOK_EVERY: Final = 8
"""How many reads there are to a look then."""

INLINE_READ_BYTES_MAX: Final = 64 * 1024
"""Longest file that is read whole at once if it is cached; copied in about ten microseconds."""

SCAN_ENTRIES_MAX: Final = 256
"""Entries of a directory that one hop brings."""

COPY_PIECE_BYTES: Final = 8 * 1024 * 1024
"""Bytes that the kernel copies from file to file between two looks at whether to stop."""

COPY_BUFFER_BYTES: Final = 1024 * 1024
"""Bytes read at a time where the kernel does not copy from file to file by itself."""

WAY_SAMPLES_MIN: Final = 8
"""Measurements of a way to do a file's operations before its time counts, and their weight."""

WAY_THREAD_FRACTION: Final = 0.25
"""Share of the ring's time that a thread may take at most, so that files are read by threads."""

WAY_WORKER_FRACTION: Final = 0.75
"""The same for what the ring has workers do, which are threads as well: writing and forcing."""

WAY_RUN: Final = 2 * WAY_SAMPLES_MIN
"""Operations in a row by one way when both are tried; the second half of them is measured."""

WAY_PAUSE_MIN: Final = 256
"""Operations by the way that seems quicker until both are tried again, if it has changed."""

WAY_PAUSE_MAX: Final = 8192
"""The same after both were tried several times with the same result."""

STREAM_BUFFER_BYTES: Final = 64 * 1024
"""Default buffer of a file that is read or written as a stream; one request moves as much."""

STREAM_READ_ALL_BYTES: Final = 256 * 1024
"""One request of a read up to the end, where the system does not tell how far that is."""

LOCK_RETRY_SECONDS_MIN: Final = 0.001
"""Pause after the first attempt to lock a part of a file that somebody else has."""

LOCK_RETRY_SECONDS_MAX: Final = 0.05
"""Longest such pause; each is twice as long as the one before."""

DIRECT_ALIGNMENT_BYTES: Final = 4096
"""What memory, offset and length of direct I/O are multiples of where the system does not tell."""

GATHERED_FRACTION_MAX: Final = 16
"""One in so many of the requests on files in flight may wait for the turn's end to be submitted.

The device is idle while a turn's other callbacks run: at depth 32 it had requests for three
quarters of the time only. With fewer in flight than this, all are submitted with the turn.
"""

DIRECT_POOL_BYTES_MAX: Final = 16 * 1024 * 1024
"""Aligned memory that is kept between two direct reads, in bytes."""

REFUSED_RETRY_SECONDS: Final = 0.001
"""Pause before operations are handed over again that the engine had no room for."""

VECTOR_PARTS_MAX: Final = 1024
"""Memories in one vectored read or write, IOV_MAX of Linux (readv(2), NOTES)."""

# -- watching -------------------------------------------------------------------------------
WATCH_INTERVAL_SECONDS: Final = 1.0
"""Default pause between two looks at a directory that is watched by polling."""

WATCH_PAIR_SECONDS: Final = 0.01
"""How long the second half of a move is waited for; it follows the first at once (inotify(7))."""

WATCH_QUEUE_MAX: Final = 16_384
"""Changes that wait to be taken; those beyond are told of as one overflow. As many as the kernel
keeps (fs.inotify.max_queued_events)."""

WATCH_READ_BYTES: Final = 64 * 1024
"""What is read of an inotify descriptor at once, in bytes."""

WATCH_DESCRIPTORS_MAX: Final = 1024
"""Files that kqueue watches for one watcher; each takes an open descriptor."""

# -- debugging ------------------------------------------------------------------------------
SLOW_CALLBACK_SECONDS: Final = 0.1
"""Default of `loop.slow_callback_duration`, as in asyncio."""

CLOSE_DRAIN_TURNS_MAX: Final = 1000
"""Polls that closing an engine may need until nothing is in flight; more is a bug."""
