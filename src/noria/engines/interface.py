"""Engine and Poller: what the loop asks for, and what a readiness mechanism has to supply.

The numbered contract is docs/invariants.md (E1-E12); the conformance suite runs it on every engine.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.errors import EngineClosedError, ForkedEngineError

if TYPE_CHECKING:
    from noria.core.completion import Completions
    from noria.core.operation import Operation
    from noria.disk.interface import DiskStatistics
    from noria.disk.registry import DiskChoice


class Probe(NamedTuple):
    """Whether an engine can run here.

    Attributes:
        available: it can.
        reason: why, or why not, in a few words.
        features: what this machine's version of it can do.
        descriptors_max: most descriptors that one loop can watch, None where nothing limits them.
    """

    available: bool
    reason: str
    features: tuple[str, ...] = ()
    descriptors_max: int | None = None


class EngineStatistics(NamedTuple):
    """Counters of one engine since it was made."""

    name: str
    in_flight: int
    descriptors: int
    polls: int
    waits: int
    news: int
    attempts: int
    not_ready: int
    interest_changes: int
    wakes: int
    offloaded: int


class Engine:
    """Gets operations done.

    One thread uses an engine, the loop's; only `wake` may be called from elsewhere.
    """

    name = ""
    """The engine's word: file name, registry entry, command line, test id."""

    def __init__(self) -> None:
        self.closed = False
        """`close` was called."""
        self.signalled = False
        """Signal numbers wait in `take_signals`."""
        self.acted = False
        """Something was sent, begun or closed since the last `poll`, so there may be news (L8).

        The loop sets it back; whoever acts on a descriptor past the engine sets it too.
        """
        self.forked = False
        """This process is a fork of the one that made the engine (E10)."""
        self.write_through = False
        """Never defer; from the next run on."""
        self.restricted = False
        """Let the kernel's interface do no more than sockets need; from the first run on."""
        self.deferring = False
        """Small sends are best handed over by `defer`, which lets them wait for the next `poll`."""

    @classmethod
    def probe(cls) -> Probe:
        """Tell whether the engine can run here; no side effects remain."""
        raise NotImplementedError

    @classmethod
    def rule_out(cls, exc: OSError) -> bool:
        """Take note of why no engine could be made although the probe said it could.

        Returns:
            True if the reason is lasting: `probe` says from now on that it cannot run here.
        """
        return False

    def submit(self, op: Operation) -> bool:
        """Take an operation.

        Args:
            op: an IDLE or SETTLED operation; it is the engine's until it settles (E3).

        Returns:
            True if it is settled already and will not come out of `poll`; False if it is in flight.

        Raises:
            EngineClosedError: the engine is closed.
            ForkedEngineError: this process is a fork of the engine's.
            OSError: the descriptor is closing (EBADF).
        """
        raise NotImplementedError

    def try_send(self, fd: int, sock: Any, data: Any, offset: int) -> int:
        """Send on a stream socket without an operation, if that is the engine's quickest way.

        Args:
            fd: number of a non-blocking stream socket on which no send is in flight.
            sock: its socket object where there is one.
            data: the bytes.
            offset: the first byte to send.

        Returns:
            Bytes taken, or minus errno; -EAGAIN means that an operation has to be submitted.
        """
        return -errno.EAGAIN

    def defer(self, op: Operation) -> None:
        """Take a send that the next `poll`, `flush` or `park` hands to the kernel with others.

        Until then it is `amendable`. Only while `deferring`.

        Args:
            op: a SEND of a leased descriptor; its `buffer` is bytes or a list of bytes.
        """
        raise NotImplementedError

    def withdraw(self, op: Operation) -> None:
        """Take an `amendable` operation back: it is IDLE again, as if it had not been deferred."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand what was deferred to the kernel now."""

    def resume(self) -> None:
        """Begin to work for the calling thread; `poll` does it where nobody did."""

    def park(self) -> None:
        """Leave the calling thread: nothing stays with the kernel that could be taken back.

        Operations stay in flight, and what they have moved is kept for the next `poll`, which may
        come from another thread. Idempotent.
        """

    def cancel(self, op: Operation) -> None:
        """Ask for the end of an operation; its completion tells how it ended (E5). Idempotent."""
        raise NotImplementedError

    def poll(self, timeout_ns: int, batch: Completions) -> int:
        """Submit what is queued, wait for news, and fill `batch` with completions.

        Args:
            timeout_ns: longest wait; 0 does not wait, -1 waits without limit.
            batch: an empty batch.

        Returns:
            How many completions there are; 0 after a time-out, a wake or a signal.
        """
        raise NotImplementedError

    def wake(self) -> None:
        """End the current or next waiting `poll`; any thread, signal handlers too. Coalesces."""
        raise NotImplementedError

    def forget(self, fd: int) -> None:
        """Drop a descriptor number before it is closed, news already fetched included."""
        raise NotImplementedError

    def owned(self, fd: int) -> bool:
        """Tell whether a number is in use by an owned descriptor, such as a transport's."""
        raise NotImplementedError

    def note_attempt(self, fd: int, sock: Any, vain: bool) -> None:
        """Take note of how the user's first attempt to receive on a borrowed socket ended."""

    def expects_vain(self, fd: int, sock: Any) -> bool:
        """Tell whether one more first attempt would be in vain too, going by those before.

        Then it is best begun by waiting: what has come meanwhile is told at once. Only a hint; now
        and then an attempt is asked for all the same.
        """
        return False

    def statistics(self) -> EngineStatistics:
        """Give the engine's counters as one immutable record."""
        raise NotImplementedError

    def use_disk(self, name: str | None = None) -> DiskChoice:
        """Choose what does operations without readiness; before the first one.

        Args:
            name: of a disk backend; None or "auto" asks NORIA_DISK, then takes the best available.

        Raises:
            EngineUnavailableError: the named backend is unknown or cannot work here.
            OSError: it cannot be set up now.
        """
        raise NotImplementedError

    def disk_statistics(self) -> DiskStatistics:
        """Tell how operations without readiness were done."""
        raise NotImplementedError

    def attach(self) -> int:
        """Make ready for being polled from another loop, for good; also chooses the thread.

        The owner watches the descriptor for reading and answers with `poll(0, batch)`; after the
        operations of a turn it calls `flush`. The descriptor is readable whenever that `poll` would
        have something.

        Returns:
            The descriptor; -1 if the engine has none, so that only a thread of its own could wait.
        """
        return -1

    def fileno(self) -> int:
        """Give the descriptor that becomes readable when `poll` has work, -1 if there is none."""
        return -1

    def signal_fileno(self) -> int:
        """Give the descriptor for `signal.set_wakeup_fd`, -1 if there is none."""
        return -1

    def take_signals(self) -> bytes:
        """Take the numbers of signals that arrived through it, one byte each."""
        return b""

    def close(self, batch: Completions) -> None:
        """Cancel and drain everything, then release the engine's resources (E12). Idempotent.

        Args:
            batch: gets the last completions.
        """
        raise NotImplementedError


class NewsSink:
    """Where a Poller reports readiness; the readiness engine is one."""

    def news(self, fd: int, ready: int) -> None:
        """Take one piece of news.

        Args:
            fd: the descriptor.
            ready: READABLE, WRITABLE, HANGUP and STOPS_SHORT or-ed together; HANGUP means the first
                two as well.
        """
        raise NotImplementedError


READABLE = 1
WRITABLE = 2
HANGUP = 4
"""The connection is dead, or the descriptor closed: every attempt will tell."""
STOPS_SHORT = 8
"""A short receive does not mean an empty socket: the end of the stream or urgent data is left."""


class Poller:
    """A source of readiness: epoll, kqueue, poll, select.

    Attributes:
        edge: news of an owned descriptor come once per change, not as long as it is ready.
        lasting: a registration belongs to the open file, not to its number, and may outlive it.
    """

    def __init__(self, *, edge: bool = False, lasting: bool = False) -> None:
        self.edge = edge
        self.lasting = lasting

    def modify(self, fd: int, old: int, new: int, level: bool) -> int:
        """Change the interest in a descriptor; 0 forgets it.

        Args:
            fd: the descriptor.
            old: the interest this poller was last told, 0 if none.
            new: READABLE and WRITABLE or-ed together.
            level: report for as long as it is ready, also on an edge-triggered poller.

        Returns:
            0, or minus errno: -EPERM if the descriptor cannot be watched (a regular file),
            -EBADF if it is closed, -EINVAL if its number is beyond the mechanism, -EMFILE if
            the mechanism watches as many as it can, -ENOTSOCK if it watches sockets only.
        """
        raise NotImplementedError

    def wait(self, timeout_ns: int, sink: NewsSink) -> int:
        """Wait for news and report them to `sink`; how many there were.

        Other threads run meanwhile. A signal may end the wait early, with no news; what its
        handler raises comes out here.
        """
        raise NotImplementedError

    def renew(self) -> int:
        """Start again without any registration, those included that nobody can remove any more.

        Returns:
            0, or minus errno; then everything is as before.
        """
        return 0

    def fileno(self) -> int:
        """Give the mechanism's own descriptor, -1 if it has none."""
        return -1

    def close(self) -> None:
        """Release the mechanism. Idempotent."""
        raise NotImplementedError


def unwatchable(fd: int) -> int:
    """Tell why a descriptor of the user cannot be watched, as epoll does: minus errno, or 0.

    Regular files and directories are always ready; poll and select would report them at every wait.
    """
    if sys.platform == "win32":
        return 0  # there select takes sockets only, and sees to that itself
    try:
        mode = os.fstat(fd).st_mode
    except OSError as exc:
        return -(exc.errno or errno.EBADF)
    return -errno.EPERM if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else 0


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def register_for_fork(engine: Engine) -> None:
    """Have `engine.forked` set in every child of this process (E10)."""
    _engines.add(engine)


def refuse(engine: Engine) -> Exception:
    """Make the exception for work that a closed or forked engine is given."""
    if engine.closed:
        return EngineClosedError(f"the {engine.name} engine is closed")
    return ForkedEngineError(
        f"the {engine.name} engine belongs to the parent process; "
        "after fork() a child has to make its own event loop"
    )


def _flush_before_fork() -> None:
    for engine in list(_engines):
        engine.flush()


def _mark_forked() -> None:
    numbers = set()
    for engine in list(_engines):
        engine.forked = True
        engine.deferring = False
        numbers.add(engine.signal_fileno())
    if numbers:
        _stop_telling_signals(numbers)


def _stop_telling_signals(numbers: set[int]) -> None:
    """Keep the interpreter from writing the child's signals to a descriptor the parent reads."""
    try:
        current = signal.set_wakeup_fd(-1)
    except ValueError:
        return  # not the main interpreter, which alone has such a descriptor
    if current != -1 and current not in numbers:
        signal.set_wakeup_fd(current)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_flush_before_fork, after_in_child=_mark_forked)
