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
    `requests`, `bytes`, `polls`, `empty_polls`, `retries`, `sleeps`, `preemptions`, `worst_ns`,
    `samples_seen`, `alive`, `samples_ns` (bytes of native uint32), `failures` (errno or FAILURE_*
    to count) and `mismatch` (None, or connection, request, offset, expected and received byte of
    the first one).
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
    ) -> None:
        """Take loopback addresses or Unix paths, used in turn, and room for `connections`.

        `progress_fd`: a file of at least 64 bytes where counters are kept for others to watch.
        Raises ValueError for a size out of range or an address that is not loopback.
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
        are open.
        """

    def idle(self, seconds: float) -> dict[str, Any]:
        """Hold all connections; anything that arrives is a failure."""

    def disconnect(self, *, timeout_s: float = 30.0) -> dict[str, Any]:
        """Half-close every connection and await its end; `connections` counts proper ends."""

    def progress(self) -> tuple[int, int, int, int, int, int]:
        """Phase, connected, answered, failures, bytes, alive; from any thread."""

    def close(self) -> None:
        """Reset every connection and free everything."""

def serve(listeners: Sequence[int], stop_fd: int, /) -> None:
    """Echo on the listening sockets until `stop_fd` is readable or hung up, without the GIL."""

def serve_ring(listeners: Sequence[int], stop_fd: int, /) -> None:
    """Do as `serve`, on io_uring. Raises OSError where it cannot be used."""

def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
