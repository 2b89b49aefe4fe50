"""Operation: one request, from its arguments to its result.

Life of an operation: IDLE -> (begin) IN_FLIGHT -> (settle) SETTLED, and back to IDLE when its owner
reuses it. While in flight it belongs to the engine together with its buffer and its descriptor
lease (E3). It settles exactly once (E1); a multishot operation may be listed many times before.

The loop hands every completion to `deliver`, which subclasses override: a transport's operation
feeds the transport, a future's operation sets the future.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from noria.core.catalog import CATALOG, LANES

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor

IDLE: Final = 0
IN_FLIGHT: Final = 1
SETTLED: Final = 2

MORE: Final = 1
"""Flag of a completion: the operation is still in flight and further completions will come."""

# Names for the compiler, typed in the .pxd.
_IDLE = IDLE
_IN_FLIGHT = IN_FLIGHT
_SETTLED = SETTLED
_UNKNOWN = 255  # lane of what is only in the catalog, or not even there
_lanes = LANES

DATA: Final = 0
"""Crew: threads for what moves data or forces it to the device."""
NAMES: Final = 1
"""Crew: threads for what looks up or changes names, so that no slow transfer holds it up."""
WAITING: Final = 2
"""Crew: threads for what may wait for somebody else for ever, such as opening a FIFO."""

AUTOMATIC: Final = 0
"""Way: as the engine thinks best."""
DIRECT: Final = 1
"""Way: the file is open with O_DIRECT and the memory aligned, so native AIO does not block."""
BY_THREAD: Final = 2
"""Way: in a thread, though the engine could do it otherwise."""

NATIVE: Final = 1
READINESS: Final = 2
BACKEND: Final = 3
ROUTE_NAMES: Final = ("none", "native", "readiness", "backend")


class Operation:
    """One request to an engine; also what its completions are delivered to.

    Attributes:
        code: row of the catalog.
        lane: READ, WRITE or OFFLOAD, taken from the catalog.
        fd: descriptor number, -1 for none.
        sock: the socket object of the descriptor where there is one (interpreted builds and
            Windows act through it), else None.
        descriptor: the Descriptor that is leased while in flight, or None when borrowed.
        buffer: data to send or memory to fill; results that are objects come back in it.
        offset: position in the file, or first byte of `buffer` to send.
        size: most bytes to move.
        expected: bytes that the next receive may bring, kept by the engine; of a batch of
            datagrams those it has brought.
        address: socket address for and from the kernel; for a batch the socket's Endpoint.
        multishot: stays in flight after a completion until it fails, ends or is cancelled.
        borrowed: the descriptor belongs to the user: watched level-triggered, never kept open.
        expectant: wait for news before the first attempt; data is not there yet.
        nowait: settle with -EAGAIN instead of waiting.
        state: IDLE, IN_FLIGHT or SETTLED.
        result: the terminal result, >= 0 or minus errno; meaningful when SETTLED.
        route: how it was done: 0 (not yet), NATIVE, READINESS or BACKEND.
        cancelled: noria asked for its cancellation since it was begun.
        crew: which threads do it where threads have to: DATA, NAMES or WAITING.
        way: AUTOMATIC, or what its owner knows of the file: DIRECT, BY_THREAD.
        lent: what the engine lends to the kernel for it, beyond `buffer`; the engine's own.
        amendable: in flight, but not in the kernel's hands yet: its owner may still add to what it
            sends, or withdraw it.
    """

    __slots__ = (
        "address",
        "amendable",
        "borrowed",
        "buffer",
        "cancelled",
        "code",
        "crew",
        "descriptor",
        "expectant",
        "expected",
        "fd",
        "lane",
        "lent",
        "multishot",
        "nowait",
        "offset",
        "result",
        "route",
        "size",
        "sock",
        "state",
        "way",
    )

    def __init__(self, code: int, fd: int = -1, sock: Any = None) -> None:
        self._set_up(code, fd, sock)

    def _set_up(self, code: int, fd: int, sock: Any) -> None:
        """Do what `__init__` does; apart from it, because a call of that one is slow."""
        self.code = code
        lane = _lanes[code] if 0 <= code < len(_lanes) else _UNKNOWN
        self.lane: int = CATALOG[code].lane if lane == _UNKNOWN else lane
        self.fd = fd
        self.sock = sock
        self.descriptor: Descriptor | None = None
        self.buffer: Any = None
        self.offset = 0
        self.size = 0
        self.expected = 0
        self.address: Any = None
        self.multishot = False
        self.borrowed = False
        self.expectant = False
        self.nowait = False
        self.state: int = _IDLE
        self.result = 0
        self.route = 0
        self.cancelled = False
        self.amendable = False
        self.crew: int = 0
        self.way: int = 0
        self.lent: Any = None

    def perform(self) -> int:
        """Make one attempt: the catalog's blocking form on this operation."""
        return CATALOG[self.code].attempt(self)

    def begin(self, route: int) -> None:
        """Enter flight; called by an engine that takes the operation."""
        assert self.state != _IN_FLIGHT, f"{self!r} is in flight already"
        if self.descriptor is not None:
            self.descriptor.lease()  # first, because it refuses when the descriptor is closing
        self.state = _IN_FLIGHT
        self.route = route
        self.cancelled = False

    def settle(self, result: int) -> None:
        """Leave flight with the terminal result; called by the engine, once (E1)."""
        assert self.state == _IN_FLIGHT, f"{self!r} settled though it was not in flight"
        self.state = _SETTLED
        self.result = result
        if self.descriptor is not None:
            self.descriptor.release()

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Take one completion.

        Args:
            result: a value >= 0 or minus errno.
            flags: MORE while the operation stays in flight, else 0.
            data: object that came with it (received bytes, accepted socket), else None.
        """

    def absorb(self, result: int) -> bool:
        """Take the terminal completion, or any of a cancelled operation, from within the engine.

        Only what calls no user code may be done here.

        Returns:
            True if it is dealt with, so the engine lists no completion.
        """
        return False

    def discard(self, result: int, data: object) -> None:
        """Free what an undeliverable completion carries; an accept closes its socket."""
        free = CATALOG[self.code].discard
        if free is not None and result >= 0:
            free(result, data)

    def __repr__(self) -> str:
        """Name, descriptor and state, for logs and assertion messages."""
        state = ("idle", "in flight", "settled")[self.state]
        return f"<{type(self).__name__} {CATALOG[self.code].name} fd={self.fd} {state}>"
