"""Disk: the router between an engine and its disk backends.

Every operation has a backend that is best for it, and `threads` does whatever that one cannot:
nothing is refused that any backend could do. What was routed where is counted.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from noria.core.operation import BY_THREAD, DATA, DIRECT
from noria.disk.interface import DiskStatistics
from noria.disk.registry import BACKENDS
from noria.disk.threads import ThreadBackend
from noria.limits import GATHERED_FRACTION_MAX
from noria.native import crew as native

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.operation import Operation
    from noria.disk.interface import DiskBackend
    from noria.disk.registry import DiskChoice

# Names for the compiler, typed in the .pxd.
_DATA = DATA
_DIRECT = DIRECT
_BY_THREAD = BY_THREAD
_CODES = 256
_FRACTION = GATHERED_FRACTION_MAX
HAS_BELL = native.COMPILED and sys.platform == "linux"
"""Backends tell by a descriptor of their own; elsewhere all of them wake the engine."""

_COUNTER = 8  # bytes of what an eventfd gives (eventfd(2))


class Disk:
    """The disk backends of one engine.

    Args:
        wake: ends the engine's wait, from any thread.
        choice: which backend, and whether for everything it can or only for direct I/O.

    Raises:
        OSError: the backend was asked for by name and cannot be set up now.
    """

    def __init__(self, wake: Callable[[], None], choice: DiskChoice) -> None:
        self._wake = wake
        self._reason = choice.reason
        self._choice = choice
        self._forced = choice.forced
        self._bell = _make_bell()
        self._native: DiskBackend | None = None
        self._native_codes = bytearray(256)
        self._to_native = 0
        self._in_flight = 0  # with the backend; what it has spilled is not
        self._gathered = 0
        self._hastens = False
        self._to_threads = 0
        self._lasting = True
        self._closed = False
        try:
            self._threads = ThreadBackend(wake, self._bell)
            if choice.forced:
                self._make_native()
        except BaseException:
            self._close_bell()
            raise

    def submit(self, op: Operation) -> int:
        """Give an operation that has been begun to its backend; 0 or minus errno."""
        if op.crew == _DATA and op.way != _BY_THREAD and (self._forced or op.way == _DIRECT):
            if self._native is None and self._lasting:
                self._try_native()
            if self._native is not None and self._takes(op):
                return self._submit_native(op)
        self._to_threads += 1
        return self._threads.submit(op)

    def _submit_native(self, op: Operation) -> int:
        assert self._native is not None
        self._to_native += 1
        failure = self._native.submit(op)
        if failure == 0:
            self._in_flight += 1
            self._gathered += 1
            if self._hastens and _FRACTION <= self._in_flight <= self._gathered * _FRACTION:
                self._gathered = 0
                self._native.flush()  # the device is not to wait for the turn's end
        return failure

    def _takes(self, op: Operation) -> bool:
        return op.code < _CODES and self._native_codes[op.code] != 0

    def cancel(self, op: Operation) -> None:
        """Ask for an operation's end."""
        if self._native is None or not self._native.cancel(op):
            self._threads.cancel(op)

    def flush(self, patient: bool = False) -> bool:
        """Hand over what was gathered; True if something is done already; see DiskBackend."""
        ready = False
        if self._native is not None:
            self._gathered = 0
            ready = self._native.flush()
        return self._threads.flush(patient and not ready) or ready

    def reap(self, done: list[Operation], count: int) -> None:
        """Append operations that are done, at most about `count` of each backend."""
        if self._native is not None:
            before = len(done)
            self._native.reap(done, count)
            self._in_flight -= len(done) - before
        self._threads.reap(done, count)

    def fileno(self) -> int:
        """Descriptor to watch, -1 if `wake` tells everything."""
        return self._bell

    def silence(self) -> None:
        """Take what was told by the descriptor."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell, _COUNTER)

    def statistics(self) -> DiskStatistics:
        """Give the counters of every backend in use."""
        backends = [self._threads.statistics()]
        routes = {"threads": self._to_threads}
        failed = self._native is None and not self._lasting
        name = "threads" if failed else self._choice.name
        if self._native is not None:
            routes[self._native.name] = self._to_native
            backends.insert(0, self._native.statistics())
        return DiskStatistics(name, self._reason, self._forced, routes, tuple(backends))

    def close(self, done: list[Operation]) -> None:
        """Cancel what has not started, wait for the rest up to a bound. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._native is not None:
            self._native.close(done)
        self._threads.close(done)
        self._close_bell()

    def abandon(self) -> None:
        """Close a forked child's copies of descriptors; the threads are the parent's."""
        self._closed = True
        self._close_bell()

    def _spill(self, op: Operation) -> int:
        self._in_flight -= 1
        return self._threads.submit(op)

    def _try_native(self) -> None:
        """Set up the chosen backend at its first use; where that fails, threads do everything."""
        self._lasting = False
        try:
            self._make_native()
        except OSError as exc:
            self._reason = f"{self._reason}; {self._choice.name} cannot be set up: {exc}"

    def _make_native(self) -> None:
        made = BACKENDS.get(self._choice.name)
        if made is None or made is ThreadBackend:
            return
        self._native = made(self._wake, self._bell, self._spill)
        self._hastens = made.hastens
        for code in self._native.codes:
            self._native_codes[code] = 1

    def _close_bell(self) -> None:
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1


def _make_bell() -> int:
    """Make what threads of C and the kernel tell by, -1 where nobody would use it.

    Raises:
        OSError: no descriptor is left.
    """
    if not HAS_BELL or sys.platform != "linux":
        return -1
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
