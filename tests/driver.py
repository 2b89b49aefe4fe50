"""Drives one engine by hand, as the loop does: submit, poll, deliver, one thread.

`Recorded` is an operation that writes its completions down. `Driver` polls with a bounded patience,
so a lost completion fails a test instead of hanging it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.core import codes
from noria.core.completion import Completions
from noria.core.descriptor import Descriptor
from noria.core.operation import IN_FLIGHT, MORE, Operation

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from noria.engines.interface import Engine

PATIENCE_SECONDS = 5.0
_SLICE_NS = 20_000_000


class Event(NamedTuple):
    """One completion as it was delivered, or the settling by `submit`."""

    result: int
    flags: int
    data: Any


class Recorded(Operation):
    """An operation that writes its completions down."""

    __slots__ = ("__weakref__", "events")

    def __init__(self, code: int, fd: int = -1, sock: Any = None) -> None:
        super().__init__(code, fd, sock)
        self.events: list[Event] = []

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Write a completion down."""
        self.events.append(Event(result, flags, data))

    def discard(self, result: int, data: object) -> None:
        """Free what an undelivered accept carries."""
        self.events.append(Event(result, 0, None))
        if self.code == codes.ACCEPT and result >= 0:
            close_accepted(data)

    @property
    def in_flight(self) -> bool:
        """The engine holds it."""
        return self.state == IN_FLIGHT

    @property
    def results(self) -> list[int]:
        """Results of all completions."""
        return [event.result for event in self.events]

    @property
    def terminal(self) -> list[int]:
        """Results of the completions that ended it; never more than one a life."""
        return [event.result for event in self.events if not event.flags & MORE]

    @property
    def received(self) -> bytes:
        """Every byte that came with completions, in order."""
        return b"".join(event.data for event in self.events if isinstance(event.data, bytes))


class Driver:
    """One engine with its batch."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.batch = Completions()

    def submit(self, *operations: Recorded) -> bool:
        """Submit; what settles at once is written down as well. True if the last one did."""
        settled = False
        for op in operations:
            settled = self.engine.submit(op)
            if settled:
                assert not op.in_flight
                data = op.buffer if op.result >= 0 else None
                op.events.append(Event(op.result, 0, data))
        return settled

    def poll(self, seconds: float = 0.0) -> int:
        """One poll; deliver and count its completions."""
        timeout_ns = -1 if seconds < 0 else int(seconds * 1e9)
        self.batch.deliver_all()  # what an interrupt left over
        count = self.engine.poll(timeout_ns, self.batch)
        assert count == self.batch.count
        self.batch.deliver_all()
        return count

    def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Poll until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come true: {self.statistics()}"
            self.engine.poll(_SLICE_NS, self.batch)
            self.batch.deliver_all()

    def collect(self, op: Recorded, count: int) -> None:
        """Poll until the operation has had that many completions."""
        self.until(lambda: len(op.events) >= count, f"completion {count} of {op!r}")

    def receive(self, op: Recorded, count: int) -> None:
        """Poll until the operation has received that many bytes."""
        self.until(lambda: len(op.received) >= count, f"byte {count} of {op!r}")

    def finish(self, *operations: Recorded) -> None:
        """Poll until none of the operations is in flight, and what settled is delivered."""
        self.until(lambda: all(op.terminal and not op.in_flight for op in operations), "settling")

    def settle_down(self, polls: int = 3) -> int:
        """Poll without waiting; how many completions came."""
        return sum(self.poll() for _ in range(polls))

    def end(self, *operations: Recorded) -> None:
        """Cancel operations and take their completions."""
        for op in operations:
            self.engine.cancel(op)
        self.settle_down()

    def close(self) -> None:
        """Close the engine and deliver its last completions."""
        self.engine.close(self.batch)
        self.batch.deliver_all()

    def statistics(self) -> Any:
        """The engine's counters."""
        return self.engine.statistics()


class Owned:
    """A non-blocking socket with its Descriptor."""

    def __init__(self, driver: Driver, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.driver = driver
        self.sock = sock
        self.fd = sock.fileno()
        self.descriptor = Descriptor(self.fd, sock)

    def operation(self, code: int, **attributes: Any) -> Recorded:
        """An operation on it; multishot ones wait for news first, as transports do."""
        op = make(code, self.sock, **attributes)
        op.descriptor = self.descriptor
        return op

    def close(self) -> None:
        """Close as a transport does: the engine forgets the number first."""
        if not self.descriptor.closing:
            if not self.driver.engine.closed:
                self.driver.engine.forget(self.fd)
            self.descriptor.close()


def make(code: int, sock: socket.socket, **attributes: Any) -> Recorded:
    """An operation on a socket; WAIT and multishot ones are expectant unless told otherwise."""
    op = Recorded(code, sock.fileno(), sock)
    waits = code in {codes.WAIT_READABLE, codes.WAIT_WRITABLE}
    op.expectant = waits or bool(attributes.get("multishot"))
    for name, value in attributes.items():
        setattr(op, name, value)
    return op


def watch(code: int, fd: int, *, multishot: bool = True) -> Recorded:
    """A watch on a borrowed number, as `add_reader` submits it."""
    op = Recorded(code, fd)
    op.multishot = multishot
    op.borrowed = True
    op.expectant = True
    return op


def close_accepted(data: Any) -> None:
    """Close what an accept delivered: (number, socket or None, address)."""
    number, sock, _ = data
    if sock is not None:
        sock.close()
    elif sys.platform != "win32":
        os.close(number)


def fill(sock: socket.socket) -> int:
    """Send until the socket takes no more; how many bytes it took."""
    chunk = b"\xa5" * 65536
    total = 0
    while True:
        try:
            total += sock.send(chunk)
        except BlockingIOError:
            return total


def drain(sock: socket.socket) -> bytes:
    """Receive everything that is there."""
    found = []
    while True:
        try:
            data = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not data:
            break
        found.append(data)
    return b"".join(found)
