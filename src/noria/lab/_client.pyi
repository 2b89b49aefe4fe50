"""The native load generator and the bare echo servers (Linux only)."""

from collections.abc import Sequence
from typing import Any, Final, final

FAILURE_MISMATCH: Final[int]
FAILURE_EOF: Final[int]
FAILURE_SURPLUS: Final[int]
FAILURE_TIMEOUT: Final[int]
PROGRESS_WORDS: Final[int]

@final
class Client:
    """Non-blocking connections that send requests, await their echoes and check every byte.

    A phase runs without the GIL and busy-polls; only `idle` may sleep. Each phase returns a dict:
    `elapsed_ns`, `connections` (answered, taking part, held, ended, through: see the phase),
    `requests`, `bytes`, `polls`, `empty_polls`, `retries`, `lost`, `duplicates`, `sleeps`,
    `preemptions`, `worst_ns`, `samples_seen`, `alive`, `samples_ns` (bytes of native uint32),
    `failures` (errno or FAILURE_* to count) and `mismatch` (None, or connection, request, offset,
    expected and received byte of the first one).
    """

    def __init__(
        self,
        targets: Sequence[tuple[str, int] | str],
        connections: int,
        *,
        size_max: int = 65536,
        depth_max: int = 1,
        samples_max: int = 262144,
        seed: int = 1,
        progress_fd: int = -1,
        datagrams: bool = False,
        resend_s: float = 0.2,
        tls: bool = False,
        request: bytes | None = None,
        response: bytes | None = None,
        train: int = 0,
        train_back: bool = False,
    ) -> None:
        """Take loopback addresses or Unix paths, used in turn, and room for `connections`.

        Args:
            targets: where to connect to.
            connections: how many connections there may be.
            size_max: bytes of the largest request.
            depth_max: how many requests a connection may have outstanding.
            samples_max: latencies kept of a phase, by reservoir beyond it.
            seed: decides the bytes of all requests.
            progress_fd: a file of at least 64 bytes where counters are kept for others to watch.
            datagrams: connected sockets of datagrams. A request is one datagram of at least 8
                bytes; `depth` is the window.
            resend_s: how long the answer to a datagram is awaited. Then it counts as `lost` and is
                sent again; its latency is taken from there. An answer to one that has had an
                answer counts among the `duplicates`.
            tls: TLS 1.3 with TLS_AES_128_GCM_SHA256 and no resumption; the server's certificate is
                not verified.
            request: sent in place of random bytes, whatever `size` says.
            response: what must come back for each request, byte for byte.
            train: so many datagrams of `size` bytes, 32 at least, are a request, and a short one
                ends it; each counts among the `requests`. A train that did not arrive whole is
                sent again, and what it lacked is `lost`. At most 63, and 65,000 bytes.
            train_back: the server is asked for trains, of which every byte is checked, instead of
                being sent them, of which it says how many datagrams it was given.

        Raises ValueError for a size out of range, an address that is not loopback or options that
        exclude each other; RuntimeError for TLS without `load_tls`.
        """

    def connect(
        self, count: int, *, parallel: int = 128, size: int = 64, timeout_s: float = 60.0
    ) -> dict[str, Any]:
        """Open `count` connections, at most `parallel` unanswered; samples: first answers."""

    def echo(
        self,
        seconds: float,
        *,
        active: int = ...,
        first: int = 0,
        size: int = 64,
        depth: int = 1,
        requests_max: int = 0,
        ramp: int = 64,
        drain_s: float = 10.0,
    ) -> dict[str, Any]:
        """Echo on connections `first` to `first + active`; samples: latency of each request.

        Ends after `seconds`, or when each connection had `requests_max` answers (0: no limit), and
        always awaits the answers outstanding. `ramp` connections start per turn (0: all at once).
        """

    def churn(
        self,
        seconds: float,
        *,
        parallel: int = ...,
        size: int = 64,
        sources: int = 0,
        half_close: bool = False,
        drain_s: float = 10.0,
    ) -> dict[str, Any]:
        """Connect, await one echo, close, and begin anew, `parallel` at a time; samples: all that.

        `connections` counts those that came through. With `half_close` each one half-closes after
        its echo and awaits the server's end as well. They come from `sources` addresses in turn,
        127.1.0.1 and those after it, if the target is one of IPv4 (0: from the kernel's choice).
        Ends after `seconds` and awaits the answers outstanding. Raises RuntimeError if connections
        are open, and ValueError for datagrams and TLS.
        """

    def idle(self, seconds: float) -> dict[str, Any]:
        """Hold all connections; anything that arrives is a failure."""

    def disconnect(self, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Half-close every connection and await its end; `connections` counts proper ends.

        With TLS close_notify is the half-close, and datagram sockets are just closed.
        """

    def progress(self) -> tuple[int, int, int, int, int, int]:
        """Phase, connected, answered, failures, bytes, alive; from any thread."""

    def close(self) -> None:
        """Reset every connection and free everything."""

def serve(listeners: Sequence[int], stop_fd: int, /) -> None:
    """Echo on the listening sockets until `stop_fd` is readable or hung up, without the GIL."""

def serve_ring(listeners: Sequence[int], stop_fd: int, /) -> None:
    """Do as `serve`, on io_uring. Raises OSError where it cannot be used."""

def serve_datagrams(sockets: Sequence[int], stop_fd: int, /) -> None:
    """Send each datagram back that the bound sockets receive, one per call, until `stop_fd`."""

def serve_datagrams_batched(sockets: Sequence[int], stop_fd: int, /) -> None:
    """Do as `serve_datagrams`, many with one call (recvmmsg, sendmmsg)."""

def load_tls(ssl_path: str, crypto_path: str, /) -> str:
    """Load OpenSSL, once for the process; return its version. Raises OSError."""

def serve_tls(listeners: Sequence[int], stop_fd: int, /) -> None:
    """Do as `serve`, over TLS 1.3 with a certificate of its own. Raises RuntimeError, OSError."""

def make_certificate() -> tuple[bytes, bytes]:
    """Make a self-signed certificate for localhost, valid for a week, and its key, both in DER."""

def spawn(path: str, seconds: float, parallel: int, /) -> dict[str, int]:
    """Spawn a program again and again, `parallel` at a time, and await each.

    Reaps any child of this process. The result has `elapsed_ns`, `cpu_ns` of this process,
    `children_cpu_ns`, `spawned`, and `failed`: how many ended with another code than 0. Raises
    OSError.
    """

def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
