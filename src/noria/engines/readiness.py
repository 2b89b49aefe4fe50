# cython: boundscheck=False, wraparound=False
"""Any Poller becomes an Engine: attempt, wait for readiness, attempt again, offload the rest.

One slot per descriptor remembers what was registered with the poller and who waits for what. News
put the slot on the ready list; `poll` serves that list in slices, so that one poll neither holds
much memory nor lets a busy descriptor starve the others: a descriptor that has used up its share
goes to the end of the list (E11). The same list makes edge-triggered pollers safe: what was not
drained stays on it, and no second edge is needed.

Who waits for what, and what the poller was told of it, is in engines/registrations.py; what has no
readiness, in engines/offload.py. A steady echo is one wait per batch, one receive, one send.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import noria.operations  # noqa: F401 - enters the operations into the catalog
from noria.core import codes
from noria.core.catalog import OFFLOAD, READ
from noria.core.operation import IN_FLIGHT, MORE, READINESS, SETTLED
from noria.disk.disk import HAS_BELL
from noria.engines.interface import (
    HANGUP,
    READABLE,
    STOPS_SHORT,
    WRITABLE,
    EngineStatistics,
    NewsSink,
    Poller,
    refuse,
    register_for_fork,
)
from noria.engines.offload import Offload
from noria.engines.waker import Waker
from noria.limits import (
    ACCEPTS_PER_TURN_MAX,
    COMPLETION_BYTES_PER_POLL_MAX,
    COMPLETIONS_PER_POLL_MAX,
    DATAGRAMS_PER_TURN_MAX,
    POLL_TIMEOUT_NS_MAX,
    RECEIVE_BYTES_PER_TURN_MAX,
    RECEIVE_LARGE_BYTES,
    RECEIVE_SLACK_BYTES,
)
from noria.native import sockets as native
from noria.native.datagrams import Endpoint

if TYPE_CHECKING:
    from noria.core.completion import Completions
    from noria.core.operation import Operation
    from noria.engines.slots import Slot

# Names for the compiler: the .pxd types them, so comparisons in the hot path make no objects.
_EAGAIN = errno.EAGAIN
_EBADF = errno.EBADF
_EINVAL = errno.EINVAL
_ECANCELED = errno.ECANCELED
_READABLE = READABLE
_WRITABLE = WRITABLE
_HANGUP = HANGUP
_STOPS_SHORT = STOPS_SHORT
_MORE = MORE
_READ = READ
_OFFLOAD = OFFLOAD
_IN_FLIGHT = IN_FLIGHT
_SETTLED = SETTLED
_READINESS = READINESS
_RECEIVE = codes.RECEIVE
_SEND = codes.SEND
_ACCEPT = codes.ACCEPT
_RECEIVE_DATAGRAMS = codes.RECEIVE_DATAGRAMS
_ENTRIES_MAX = COMPLETIONS_PER_POLL_MAX
_BYTES_MAX = COMPLETION_BYTES_PER_POLL_MAX
_SHARE = RECEIVE_BYTES_PER_TURN_MAX
_LARGE = RECEIVE_LARGE_BYTES
_SLACK = RECEIVE_SLACK_BYTES
_ACCEPT_COST = RECEIVE_BYTES_PER_TURN_MAX // ACCEPTS_PER_TURN_MAX
_DATAGRAM_COST = RECEIVE_BYTES_PER_TURN_MAX // DATAGRAMS_PER_TURN_MAX
_TIMEOUT_MAX = POLL_TIMEOUT_NS_MAX


class Sink(NewsSink):
    """Where the poller reports to; kept apart from the engine so that both stay single-purpose."""

    __slots__ = ("engine",)

    def __init__(self, engine: ReadinessEngine) -> None:
        self.engine = engine

    def news(self, fd: int, ready: int) -> None:
        """Pass one piece of news on to the engine."""
        self.engine.take_news(fd, ready)


class ReadinessEngine(Offload):
    """Engine over a Poller.

    Attributes:
        direct: use the short cuts for receive and send; tests compare both ways.
    """

    def __init__(self, poller: Poller) -> None:
        Offload.__init__(self, poller)
        self.direct = True
        self.polls = 0
        self.waits = 0
        self.news_count = 0
        self.attempts = 0
        self.not_ready = 0
        self._cursor = 0
        self._round_end = 0
        self._signals = b""
        self._woken = False
        self._attached = False
        self._batch_bytes = 0
        self._asked = 0
        self._waker = Waker()
        self._wake_fd = self._waker.fileno()
        self._sink = Sink(self)
        failure = self._watch_waker()
        if failure < 0:
            self._waker.close()
            poller.close()
            raise OSError(
                -failure,
                f"the {self.name} engine cannot watch its waker, descriptor {self._wake_fd}",
            )
        register_for_fork(self)

    def _watch_waker(self) -> int:
        return self.poller.modify(self._wake_fd, 0, READABLE, True)

    # -- the Engine interface ---------------------------------------------------------------

    def submit(self, op: Operation) -> bool:
        """Attempt the operation at once where that makes sense, else wait for its readiness."""
        if self.closed or self.forked:
            raise refuse(self)
        if op.descriptor is not None and op.descriptor.closing:
            op.descriptor.lease()  # raises EBADF with the descriptor's own words
        self.acted = True
        if op.lane == _OFFLOAD:
            return self._submit_offload(op)
        if op.fd < 0:
            return self._settle_at_once(op, -_EBADF)
        slot = self._slot_of(op)
        is_read = op.lane == _READ
        head = slot.reader if is_read else slot.writer
        if not op.expectant and not op.multishot and (head is None or self._only_waits(head)):
            result = self._attempt(op)
            if result != -_EAGAIN:
                return self._settle_at_once(op, result)
            slot.ready &= ~(_READABLE if is_read else _WRITABLE)
        if op.nowait:
            return self._settle_at_once(op, -_EAGAIN)
        op.begin(_READINESS)
        failure = self._arm(slot, op)
        if failure < 0:
            op.settle(failure)
            return True
        self._enqueue(slot, op)
        return False

    def try_send(self, fd: int, sock: Any, data: Any, offset: int) -> int:
        """Send what the kernel takes now."""
        if self.closed or self.forked:
            raise refuse(self)
        if not self.direct:
            return -_EAGAIN
        self.acted = True
        self.attempts += 1
        return native.send(fd, sock, data, offset)

    def cancel(self, op: Operation) -> None:
        """Take the operation out of its lane; the kernel holds nothing of it."""
        if op.state != _IN_FLIGHT or op.cancelled:
            return
        op.cancelled = True
        if op.lane == _OFFLOAD:
            if self._disk is not None:
                self._disk.cancel(op)
            return
        slot = self._slots.get(op.fd)
        if slot is not None:
            self._dequeue(slot, op)
            if op.borrowed and op.multishot:
                # The user may close the number next, and then nobody could remove it any more.
                self._disarm(slot)
        op.settle(-_ECANCELED)
        self._cancelled.append(op)
        if self._attached:
            self._waker.wake()

    def poll(self, timeout_ns: int, batch: Completions) -> int:
        """Wait unless there is work left, then serve one slice of the ready list."""
        if self.closed or self.forked:
            raise refuse(self)
        self.polls += 1
        self._batch_bytes = 0
        if self._cancelled:
            self._list_cancelled(batch)
        if self._offload_in_flight:
            idle = timeout_ns != 0 and not batch.count and not self._left_over()
            if self._flush_disk(idle):
                timeout_ns = 0
        if self._cursor >= self._round_end:
            self._wait(0 if batch.count or self._cursor < len(self._listed) else timeout_ns)
        if self._offload_in_flight:
            self._reap(batch)
        self._serve_listed(batch)
        if self._attached:
            self._stay_attached()
        return batch.count

    def wake(self) -> None:
        """End the current or next wait."""
        if not self.forked:
            self._waker.wake()

    def statistics(self) -> EngineStatistics:
        """Give the counters."""
        slots = self._slots.all()
        waiting = sum(len(slot.operations()) for slot in slots)
        return EngineStatistics(
            name=self.name,
            in_flight=waiting + len(self._cancelled) + self._offload_in_flight,
            descriptors=len(slots),
            polls=self.polls,
            waits=self.waits,
            news=self.news_count,
            attempts=self.attempts,
            not_ready=self.not_ready,
            interest_changes=self.interest_changes,
            wakes=self._waker.sent,
            offloaded=self.offloaded,
        )

    def attach(self) -> int:
        """Give the poller's descriptor, and have everything told by it from now on.

        Where the poller has none and threads tell by the waker, that one's is given: it tells of
        all that has no readiness, such as files.
        """
        fd = self.poller.fileno()
        if fd < 0 and not HAS_BELL:
            fd = self._waker.fileno()
        if fd >= 0:
            self._attached = True
            self._waker.sleeping = True
        return fd

    def _stay_attached(self) -> None:
        """Have what comes from elsewhere told between two polls, and what is left over now."""
        waker = self._waker
        waker.sleeping = True
        done = self._offload_in_flight > 0 and self._flush_disk(False)
        if done or waker.noted or self._left_over():
            waker.wake()

    def flush(self) -> None:
        """Hand over what was gathered, where somebody else polls."""
        if self._attached and not (self.closed or self.forked):
            self._stay_attached()

    def _left_over(self) -> bool:
        return self._cursor < len(self._listed) or bool(self._cancelled)

    def fileno(self) -> int:
        """Descriptor of the poller, -1 if it has none."""
        return self.poller.fileno()

    def signal_fileno(self) -> int:
        """Descriptor that the interpreter may write signal numbers to."""
        return self._waker.signal_fileno()

    def take_signals(self) -> bytes:
        """Take the signal numbers that arrived, one byte each."""
        signals = self._signals
        self._signals = b""
        self.signalled = False
        return signals

    def close(self, batch: Completions) -> None:
        """Cancel everything, wait for what runs in threads, release the poller."""
        if self.closed:
            return
        self.closed = True
        for slot in self._slots.all():
            self.forget(slot.fd)
        self._close_disk(batch)
        self._list_cancelled(batch)
        self._listed.clear()
        self._cursor = self._round_end = 0
        self.poller.close()
        if self.forked:
            self._waker.abandon()
        else:
            self._waker.close()

    # -- news -------------------------------------------------------------------------------

    def take_news(self, fd: int, ready: int) -> None:
        """Note that a descriptor is ready and list its slot."""
        if self._orphans and fd in self._orphans:
            self._stale = True  # perhaps of the file that had this number before
            return
        slot = self._slots.get(fd)
        if slot is None:
            if fd == self._wake_fd:
                self._woken = True
            elif fd == self._disk_fd and fd >= 0:  # news that came too late have none
                self._rung = True
            elif self.poller.modify(fd, _READABLE, 0, False) < 0:
                self._stale = True
            return
        if ready & _HANGUP:
            ready |= _READABLE | _WRITABLE
        wanted = 0
        if slot.reader is not None:
            wanted = _READABLE | _HANGUP | _STOPS_SHORT
        if slot.writer is not None:
            wanted |= _WRITABLE | _HANGUP
        if not self._edge or slot.level:
            if slot.interest & ready & ~wanted or not wanted:
                # Lazily disarm: nobody wants these news, and they would come again at once.
                self._change(slot, slot.interest & wanted)
            slot.ready |= ready & wanted  # a queue tells of reading and writing one by one
        else:
            slot.ready |= ready
        if ready & wanted and not slot.listed:
            slot.listed = True
            self._listed.append(slot)

    def _wait(self, timeout_ns: int) -> None:
        if self._cursor:
            # The round is over; what came back on the list is the start of the next one.
            if self._cursor == len(self._listed):
                self._listed.clear()
            else:
                del self._listed[: self._cursor]
            self._cursor = 0
        self._round_end = 0
        if timeout_ns > _TIMEOUT_MAX:
            timeout_ns = _TIMEOUT_MAX
        waker = self._waker
        waker.sleeping = True
        if waker.noted:
            timeout_ns = 0
        self.waits += 1
        try:
            self.news_count += self._wait_for_news(timeout_ns)
        finally:
            # A signal handler may have raised; what was told until then counts all the same (L4).
            waker.sleeping = False
            waker.noted = False
            self._round_end = len(self._listed)
        if self._stale and self.poller.lasting and self._renew():
            self._watch_waker()
            self._watch_disk()
        if self._rung:
            self._rung = False
            assert self._disk is not None
            self._disk.silence()
        if self._woken:
            # Only now: draining may run a handler that raises, and an edge is told only once.
            self._woken = False
            self._signals += waker.drain()
            self.signalled = bool(self._signals)

    def _wait_for_news(self, timeout_ns: int) -> int:
        return self.poller.wait(timeout_ns, self._sink)

    # -- serving ----------------------------------------------------------------------------

    def _serve_listed(self, batch: Completions) -> None:
        listed = self._listed
        while (
            self._cursor < self._round_end
            and batch.count < _ENTRIES_MAX
            and self._batch_bytes < _BYTES_MAX
        ):
            slot = listed[self._cursor]
            self._cursor += 1
            slot.listed = False
            if slot.fd < 0:
                continue
            if slot.ready & _READABLE and slot.reader is not None:
                self._serve_reader(slot, batch)
            if slot.ready & _WRITABLE and slot.writer is not None:
                self._serve_writer(slot, batch)

    def _serve_reader(self, slot: Slot, batch: Completions) -> None:
        share = _SHARE
        op = slot.reader
        while op is not None:
            result = self._attempt_again(op)
            if result == -_EAGAIN:
                slot.ready &= ~_READABLE
                return
            data = op.buffer if result >= 0 else None
            if not op.multishot:
                self._finish_reader(slot, op, result, data, batch)
                op = slot.reader
                if (op is None or op.expectant) and (slot.level or not self._edge):
                    # Level-triggered news are told again; what is known now may be used up.
                    slot.ready &= ~_READABLE
                    return
                continue
            if result < 0 or (result == 0 and op.code == _RECEIVE):
                op.buffer = None
                self._finish_reader(slot, op, result, data, batch)
                return
            batch.add(op, result, _MORE, data)
            if op.code == _RECEIVE:
                op.buffer = None
                share -= result
                self._batch_bytes += result
                if result < self._asked and not slot.ready & (_HANGUP | _STOPS_SHORT):
                    # A short receive has emptied the socket; later bytes are news again.
                    slot.ready &= ~_READABLE
                    return
            elif op.code == _ACCEPT:
                op.buffer = None
                share -= _ACCEPT_COST
            elif op.code == _RECEIVE_DATAGRAMS:
                op.buffer = None
                share -= op.expected + result * _DATAGRAM_COST
                self._batch_bytes += op.expected
                endpoint = op.address
                if endpoint.drained:
                    # Whatever comes later is news again, an error from the network too.
                    slot.ready &= ~_READABLE
                    return
            else:
                slot.ready &= ~_READABLE
                if slot.readers:
                    # A watch takes nothing, so it lets the others have their turn.
                    slot.readers.append(op)
                    slot.reader = slot.readers.pop(0)
                return
            if share <= 0:
                self._list_again(slot)
                return

    def _finish_reader(
        self, slot: Slot, op: Operation, result: int, data: object, batch: Completions
    ) -> None:
        slot.reader = slot.readers.pop(0) if slot.readers else None
        op.settle(result)
        batch.add(op, result, 0, data)

    def _serve_writer(self, slot: Slot, batch: Completions) -> None:
        op = slot.writer
        while op is not None:
            result = self._attempt_again(op)
            if result == -_EAGAIN and not op.nowait:
                slot.ready &= ~_WRITABLE
                return
            if op.multishot and result >= 0:
                batch.add(op, result, _MORE, None)
                slot.ready &= ~_WRITABLE
                if slot.writers:
                    slot.writers.append(op)
                    slot.writer = slot.writers.pop(0)
                return
            slot.writer = slot.writers.pop(0) if slot.writers else None
            op.settle(result)
            batch.add(op, result, 0, None)
            op = slot.writer
            if op is not None and op.expectant and (slot.level or not self._edge):
                slot.ready &= ~_WRITABLE
                return
        if not self._edge or slot.level:
            slot.ready &= ~_WRITABLE
            # An idle socket is writable all the time: here being lazy would cost a wake-up.
            self._change(slot, slot.interest & ~_WRITABLE)

    def _attempt_again(self, op: Operation) -> int:
        """Attempt in `poll`, which has nobody to tell of a misuse that shows only now (E4)."""
        try:
            return self._attempt(op)
        except (TypeError, ValueError, OverflowError, BufferError):
            return -_EINVAL

    def _attempt(self, op: Operation) -> int:
        self.attempts += 1
        if op.borrowed and op.sock is not None and op.sock.fileno() != op.fd:
            return -_EBADF  # its user has closed it; the number may be another file's (D3)
        if self.direct and op.code == _RECEIVE:
            return self._receive(op)
        if self.direct and op.code == _SEND:
            result = native.send(op.fd, op.sock, op.buffer, op.offset)
        elif self.direct and op.code == _RECEIVE_DATAGRAMS:
            result = self._receive_datagrams(op)
        else:
            self._asked = op.size
            result = op.perform()
        if result == -_EAGAIN:
            self.not_ready += 1
        return result

    def _receive(self, op: Operation) -> int:
        """Receive by the way that suits what the connection has sent before.

        Small messages go through a warm buffer and are copied. Once a receive brings _LARGE bytes
        or more, the next is made straight into an object of about that size; one that fills it
        doubles it. `op.expected` remembers.
        """
        self._asked = op.size
        if op.expected < _LARGE:
            data = native.receive(op.fd, op.sock, op.size)
        else:
            if op.expected < op.size:
                self._asked = op.expected
            data = native.receive_large(op.fd, op.sock, self._asked)
        if type(data) is not bytes:
            failure: int = data  # type: ignore[assignment] # by type(), which mypy does not narrow
            if failure == -_EAGAIN:
                self.not_ready += 1
            return failure
        count = len(data)
        if count == self._asked:
            op.expected = 2 * count | 1
        elif op.expected < _LARGE:
            op.expected = count + _SLACK
        elif count < op.expected >> 2:
            # Slowly, or a message in two parts would make it swing: what follows a full receive is
            # the rest of a message, and tells nothing of the next one. Odd means just doubled.
            op.expected = op.expected - 1 if op.expected & 1 else op.expected >> 1
        op.buffer = data
        return count

    def _receive_datagrams(self, op: Operation) -> int:
        if not isinstance(op.address, Endpoint):
            return -_EINVAL
        endpoint: Endpoint = op.address
        batch = endpoint.receive(op.fd, op.sock, op.size)
        if type(batch) is not list:
            failure: int = batch  # type: ignore[assignment] # by type(), which mypy does not narrow
            return failure
        op.buffer = batch
        op.expected = endpoint.received_bytes
        return len(batch) >> 1

    def _settle_at_once(self, op: Operation, result: int) -> bool:
        assert op.state != _IN_FLIGHT, f"{op!r} is in flight already"
        op.state = _SETTLED
        op.route = _READINESS
        op.cancelled = False
        op.result = result
        return True

    # -- completions without an attempt -------------------------------------------------------

    def _list_cancelled(self, batch: Completions) -> None:
        cancelled = self._cancelled
        self._cancelled = []
        for op in cancelled:
            batch.add(op, op.result, 0, None)
