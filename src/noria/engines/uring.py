# cython: boundscheck=False, wraparound=False
"""Engine `uring`: io_uring where it saves system calls, readiness for the rest.

Facts about io_uring, and what follows from them here:

- One call submits every request of a turn and waits. With TASKRUN_FLAG the kernel shows in shared
  memory whether it has completions to hand over: a turn with ready callbacks and nothing to submit
  makes no call at all.
- SINGLE_ISSUER and DEFER_TASKRUN bind a ring to one thread, for ever. It is made disabled, enabled
  by the thread that runs the loop first, and replaced when another thread runs it. Between two runs
  the engine is parked: every request is taken back, so nothing that can be cancelled stays behind.
- Closing a number does not cancel its requests, and they keep the file open. So only owned
  descriptors go to the ring; their leases put `close` off until the last completion. What the user
  owns is watched through the epoll set, which the ring polls as a whole.
- A multishot receive takes bytes from provided buffers as they arrive, without a request for each.
  What came is copied and its buffer returned at once, so a slow connection holds none. A buffer
  that came full tells of larger messages: they are received by readiness, straight into an object
  of their size, and the ring gets the connection back after SMALL_RECEIVES_MIN small ones.
- Accepting goes by readiness as well: a multishot accept tells no address, and asking for it
  afterwards costs the call that was saved, and fails if the peer has left.
- A multishot request may end at any time without F_MORE (ENOBUFS, a full completion queue) and is
  then submitted again. When buffers run out, more are provided, up to a bound.
- Kernels before 6.14 may return ECANCELED unasked; such a request is submitted once more.
- What ends once, files and connects, is in engines/ring_single.py.
- A send with MSG_DONTWAIT is over when the call that submits it returns. With CQE_SKIP_SUCCESS and
  MSG_WAITALL it has no completion unless it was short or failed, so a call that sends and waits
  waits for news only. The bytes are kept until the completions that were there have been taken.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.operation import IDLE, IN_FLIGHT, MORE, NATIVE, READINESS
from noria.engines import ring_left, uring_probe
from noria.engines.interface import READABLE, EngineStatistics, Probe, refuse
from noria.engines.readiness import ReadinessEngine
from noria.engines.ring_bell import RingBell
from noria.engines.ring_requests import joined
from noria.limits import (
    COMPLETION_BYTES_PER_POLL_MAX,
    COMPLETIONS_PER_POLL_MAX,
    OFFLOAD_CLOSE_SECONDS,
    PARK_TURNS_MAX,
    RING_BUFFER_BYTES,
    RING_BUFFERS_MAX,
    RING_BUFFERS_MIN,
    RING_COMPLETIONS,
    RING_ENTRIES,
    RING_WORKERS_MAX,
    SMALL_RECEIVES_MIN,
    TAKE_BACK_CALLS_MAX,
    UNASKED_CANCELS_MAX,
)
from noria.native import ring as native_ring
from noria.native import sockets as native
from noria.native.clock import monotonic_ns

if TYPE_CHECKING:
    from noria.core.completion import Completions
    from noria.core.operation import Operation
    from noria.engines.slots import Slot

# Names for the compiler, typed in the .pxd.
_ECANCELED = errno.ECANCELED
_ENOBUFS = errno.ENOBUFS
_EAGAIN = errno.EAGAIN
_EINVAL = errno.EINVAL
_EOPNOTSUPP = errno.EOPNOTSUPP
_MORE = MORE
_IDLE = IDLE
_IN_FLIGHT = IN_FLIGHT
_NATIVE = NATIVE
_READINESS = READINESS
_READABLE = READABLE
_RECEIVE = codes.RECEIVE
_SEND = codes.SEND
_CONNECT = codes.CONNECT
_ENTRIES_MAX = COMPLETIONS_PER_POLL_MAX
_BYTES_MAX = COMPLETION_BYTES_PER_POLL_MAX
_BUFFER_BYTES = RING_BUFFER_BYTES
_SMALL_MIN = SMALL_RECEIVES_MIN
_NEWS = 2  # tag of the poll on the epoll set
_GROUP = 1
_UNASKED_MAX = UNASKED_CANCELS_MAX

_threads = threading.local()


class UringEngine(RingBell):
    """Engine on one ring.

    Raises:
        OSError: no ring can be made, or not watched.
    """

    name = "uring"

    def __init__(self) -> None:
        self._owner: Any = None
        self._polled = False
        self._returning: list[Operation] = []
        self._provided = RING_BUFFERS_MIN
        RingBell.__init__(self, make_ring())

    @classmethod
    def probe(cls) -> Probe:
        """Try to make a ring and to have a request of each hot kind completed."""
        return uring_probe.probe()

    @classmethod
    def rule_out(cls, exc: OSError) -> bool:
        """Take note that rings cannot be made any more, unless it may pass."""
        return uring_probe.rule_out(exc)

    # -- whose thread -----------------------------------------------------------------------

    def resume(self) -> None:
        """Begin to work for the calling thread, on a new ring if the old one is another's."""
        if self._running or self.closed or self.forked:
            return
        me = _this_thread()
        if self._owner is not None and self._owner is not me:
            fresh = make_ring()
            self._leave_ring(self._owner)
            self._ring = fresh
            self._provided = RING_BUFFERS_MIN
            self._polled = False
            self._owner = None
        if self._owner is None:
            if self.restricted:
                failure = self._ring.restrict()
                if failure < 0:
                    raise OSError(-failure, "the ring cannot be restricted")
            failure = self._ring.enable()
            if failure < 0:
                raise OSError(-failure, "the ring cannot be enabled")
            if not self.restricted:
                self._ring.bound_workers(RING_WORKERS_MAX)
            self._owner = me
            if self._ring_bell >= 0:
                self._ring.ring_bell(self._ring_bell)
        self._running = True
        self.deferring = not self.write_through
        self._queued.extend(self._parked)
        self._parked.clear()

    def park(self) -> None:
        """Hand over what was deferred, then take everything back and keep what it has moved.

        Waits OFFLOAD_CLOSE_SECONDS at most for what the kernel does not give back.
        """
        if not self._running or self.forked:
            return
        self._running = False
        self.deferring = False
        interrupt: BaseException | None = None
        asked = False
        patience_ns = int(OFFLOAD_CLOSE_SECONDS * 1e9)
        until_ns = monotonic_ns() + patience_ns
        for _ in range(PARK_TURNS_MAX):
            self._flush()
            if not asked and not self._queued:
                asked = self._ring.prepare_cancel_all()
            left_ns = until_ns - monotonic_ns()
            if left_ns <= 0:
                self._note_stuck()
                left_ns = patience_ns  # the rest can be cancelled
            waiting = self._native_in_flight > len(self._stuck)
            if asked and not (waiting or self._polled or self._handed):
                break
            try:
                self._enter(0 if self._ring.completed() or not asked else left_ns)
            except Exception:
                raise
            except BaseException as exc:  # a signal handler raised: first things first
                interrupt = exc
            self._keep()
        else:
            raise AssertionError(f"{self._native_in_flight} requests do not end")
        self._uncancelled = [op for op in self._uncancelled if op in self._stuck]
        if interrupt is not None:
            raise interrupt

    def _keep(self) -> None:
        """Take completions for the next poll, and operations for the next run."""
        ring = self._ring
        while ring.take():
            if ring.tag:
                if ring.tag == _NEWS:
                    self._polled = False
                continue
            op = ring.token
            self._complete(op)
        self._finish_sends_taken()

    # -- the Engine interface ---------------------------------------------------------------

    def submit(self, op: Operation) -> bool:
        """Queue it for the ring if that is its best way; otherwise as any readiness engine."""
        if op.code == _CONNECT and self.direct and op.descriptor is not None:
            return self._submit_connect(op)
        if (
            not op.multishot
            or op.borrowed
            or op.descriptor is None
            or op.code != _RECEIVE
            or op.size < _BUFFER_BYTES
        ):
            return ReadinessEngine.submit(self, op)
        if self.closed or self.forked:
            raise refuse(self)
        slot = self._slot_of(op)
        if slot.native is not None or slot.reader is not None:
            return ReadinessEngine.submit(self, op)
        self.acted = True
        op.begin(_NATIVE)
        slot.native = op
        slot.leaving = False
        self._queue(op)
        return False

    def defer(self, op: Operation) -> None:
        """Take a send for the next poll."""
        self.acted = True
        op.begin(_NATIVE)
        self._queue(op)

    def withdraw(self, op: Operation) -> None:
        """Take a deferred send back."""
        assert op.amendable, f"{op!r} is in the kernel's hands"
        op.amendable = False
        op.settle(-_ECANCELED)
        op.state = _IDLE

    def flush(self) -> None:
        """Submit what is queued; nothing if another thread than the ring's asks."""
        if self._running and not self.forked and self._owner is _this_thread():
            self._flush()
            if self._ring.queued():
                self._enter(0)
        if self._attached:
            ReadinessEngine.flush(self)

    def cancel(self, op: Operation) -> None:
        """Take it back if the kernel does not have it yet, else ask the kernel."""
        if op.route != _NATIVE:
            ReadinessEngine.cancel(self, op)
            return
        if op.state != _IN_FLIGHT or op.cancelled:
            return
        op.cancelled = True
        if self.forked:
            return  # the kernel works for the parent
        if not op.amendable:
            if op.code != _SEND:  # which is over as soon as it has been submitted
                self._cancel_native(op)
            return
        op.amendable = False
        result = -_ECANCELED
        if op.code == _SEND:
            # It was written before this, and would have been sent at once on other engines.
            result = native.send(op.fd, op.sock, joined(op), 0)
            if result == -_EAGAIN:
                result = -_ECANCELED
        elif op.code == _RECEIVE:
            self._leave_slot(op)
        else:
            self._end_single(op, result)
        op.settle(result)
        self._cancelled.append(op)

    def forget(self, fd: int) -> None:
        """Drop a number, and end its request of the ring; if that takes longer, its close waits."""
        slot = self._slots.get(fd)
        if slot is not None and slot.native is not None and not self.forked:
            self._take_back(slot.native)
        ReadinessEngine.forget(self, fd)

    def _take_back(self, op: Operation) -> None:
        """Cancel it and take its end out of turn, so that the number can be closed at once."""
        self.cancel(op)
        if not self._running or self._owner is not _this_thread():
            return
        for _ in range(TAKE_BACK_CALLS_MAX):
            if op.state != _IN_FLIGHT:
                return  # it was not with the kernel yet
            self._ring.enter(0)
            received = self._ring.take_all(op)
            if received is not None:
                self._native_in_flight -= 1
                self._leave_slot(op)
                op.settle(-_ECANCELED)
                if not op.absorb(-_ECANCELED):
                    self._kept += [(op, len(data), _MORE, data) for data in received if data]
                    self._kept.append((op, -_ECANCELED, 0, None))
                return

    def poll(self, timeout_ns: int, batch: Completions) -> int:
        """Submit what is queued, wait unless there is work left, and collect."""
        if self.closed or self.forked:
            raise refuse(self)
        if not self._running:
            self.resume()
        self._batch = batch
        try:
            if self._kept:
                self._deliver_kept()
            if self._returning:
                self._return_small()
            if self._queued or self._uncancelled:
                self._flush()
            if self._cursor < self._round_end and self._ring.queued():
                self._enter(0)  # this poll serves what is known, and writes do not wait for that
            return ReadinessEngine.poll(self, timeout_ns, batch)
        finally:
            self._batch = None

    def statistics(self) -> EngineStatistics:
        """Give the counters; what the ring has is in flight as well."""
        found = ReadinessEngine.statistics(self)
        receives = sum(slot.native is not None for slot in self._slots.all())
        waiting: list[Operation | None] = [*self._queued, *self._handed]
        for _, batch in self._sent:
            waiting += batch
        sends = {
            id(op)
            for op in waiting
            if op is not None and op.code == _SEND and op.state == _IN_FLIGHT
        }
        kept = sum(not flags for _, _, flags, _ in self._kept)
        ours = receives + len(sends) + len(self._singles) + kept
        return found._replace(in_flight=found.in_flight + ours)

    def close(self, batch: Completions) -> None:
        """Take everything back, settle it, and release ring and epoll set."""
        if self.closed:
            return
        if self.forked:
            self.deferring = False
            ReadinessEngine.close(self, batch)
            self._ring.abandon()
            self._close_bell()
            return
        self.park()
        self._leave_ring(self._owner)
        self._batch = batch
        self._deliver_kept()
        self._batch = None
        for op in [*self._queued, *self._parked]:
            if op.amendable:
                op.amendable = False
                op.cancelled = True
                if op.code == _RECEIVE:
                    self._leave_slot(op)
                elif op.code != _SEND:
                    self._end_single(op, -_ECANCELED)
                op.settle(-_ECANCELED)
                self._cancelled.append(op)
        self._queued.clear()
        self._parked.clear()
        ReadinessEngine.close(self, batch)
        self._close_bell()

    # -- from the ring ----------------------------------------------------------------------

    def _wait_for_news(self, timeout_ns: int) -> int:
        ring = self._ring
        if self._attached or not (self._native_in_flight or self._polled):
            return self._wait_for_readiness(timeout_ns)
        if not self._polled:
            if ring.queued() >= RING_ENTRIES:
                self._enter(0)  # or there is no room for the poll
            self._polled = ring.prepare_poll(_NEWS, self.poller.fileno())
        if ring.completed() or self._kept or not self._polled:
            timeout_ns = 0
        enough = ring.completed() >= _ENTRIES_MAX
        if timeout_ns or ring.queued() or (ring.pending() and not enough):
            self._enter(timeout_ns)
        return 0 if self._kept else self._collect()  # what was kept is older

    def _wait_for_readiness(self, timeout_ns: int) -> int:
        """Wait for the epoll set alone: the ring has nothing to tell but of sends that failed."""
        ring = self._ring
        if ring.queued() or ring.pending():
            self._enter(0)
        if ring.completed() or self._kept:
            timeout_ns = 0
        count = self.poller.wait(timeout_ns, self._sink)
        if self._ring_told:
            self._hear_ring()
        return count if self._kept else count + self._collect()

    def _collect(self) -> int:
        """Take a bounded number of completions, and the news of the epoll set."""
        ring = self._ring
        batch = self._batch
        assert batch is not None
        count = 0
        received = 0
        has_news = False
        while received < _ENTRIES_MAX and self._batch_bytes < _BYTES_MAX and ring.take():
            if ring.tag:
                if ring.tag == _NEWS:
                    has_news = True
                    self._polled = False
                continue
            op = ring.token
            count += 1
            if op.code != _SEND:
                received += 1
            self._complete(op)
        if self._sent:
            self._finish_sends_taken()
        if has_news:
            count += self.poller.wait(0, self._sink)
        return count

    def _complete(self, op: Operation) -> None:
        """Take one completion of the ring."""
        result = self._ring.result
        if op.code == _SEND:
            self._fail_send(op, result)
            return
        if not self._ring.more:
            self._native_in_flight -= 1
        if op.code == _RECEIVE:
            self._complete_receive(op, result)
        else:
            self._complete_single(op, result)

    def _complete_receive(self, op: Operation, result: int) -> None:
        if result > 0:
            data = self._ring.received()
            self._batch_bytes += result
            op.offset = 0
            if not (op.cancelled and op.absorb(result)):
                self._add(op, result, _MORE, data)
            if not self._ring.more:
                self._end_receive(op)
            elif result == _BUFFER_BYTES:
                slot = self._slots.get(op.fd)
                if slot is not None and slot.native is op and not slot.leaving:
                    slot.leaving = True
                    self._cancel_native(op)
        elif result == 0:
            self._settle(op, 0, b"")
        elif result == -_ENOBUFS:
            if self._provided < 2 * self._native_in_flight:
                # Otherwise a few connections have sent much, and two more buffers each help little.
                self._provided = self._ring.provide(RING_BUFFERS_MIN)
            self._end_receive(op)
        elif result == -_ECANCELED:
            self._end_receive(op)
        elif result in (-_EINVAL, -_EOPNOTSUPP):
            slot = self._slots.get(op.fd)
            if slot is not None and slot.native is op:
                slot.leaving = True
            self._end_receive(op)
        else:
            self._settle(op, result, None)

    def _end_receive(self, op: Operation) -> None:
        """Go on after a multishot request has ended, unless its owner wants no more."""
        slot = self._slots.get(op.fd)
        if op.cancelled or slot is None or slot.native is not op:
            self._settle(op, -_ECANCELED, None)
        elif slot.leaving:
            self._begin_readiness(op)
        elif self._unasked(op):
            self._settle(op, -_ECANCELED, None)
        else:
            self._again(op)

    def _unasked(self, op: Operation) -> bool:
        """Whether the kernel has cancelled a request by itself, and not for the first time."""
        if self._ring.result != -_ECANCELED or not self._running:
            return False
        op.offset += 1
        return op.offset > _UNASKED_MAX

    def _settle(self, op: Operation, result: int, data: Any) -> None:
        self._leave_slot(op)
        op.settle(result)
        if not op.absorb(result):
            self._add(op, result, 0, data)

    def _leave_slot(self, op: Operation) -> None:
        slot = self._slots.get(op.fd)
        if slot is not None and slot.native is op:
            slot.native = None
            slot.leaving = False

    # -- large messages: by readiness ---------------------------------------------------------

    def _begin_readiness(self, op: Operation) -> None:
        """Let the rest of a receive go by readiness."""
        slot = self._slot_of(op)
        slot.native = None
        slot.leaving = False
        op.route = _READINESS
        op.offset = 0
        failure = self._arm(slot, op)
        if failure < 0:
            op.settle(failure)
            self._add(op, failure, 0, None)
            return
        self._enqueue(slot, op)
        slot.ready |= _READABLE
        self._list_again(slot)

    def _receive(self, op: Operation) -> int:
        count = ReadinessEngine._receive(self, op)
        if op.multishot and count > 0 and not op.borrowed and op.descriptor is not None:
            if count >= _BUFFER_BYTES:
                op.offset = 0
            else:
                op.offset += 1
                if op.offset == _SMALL_MIN:
                    self._returning.append(op)
        return count

    def _return_small(self) -> None:
        """Give connections whose messages have become small back to the ring."""
        returning = self._returning
        self._returning = []
        for op in returning:
            slot: Slot | None = self._slots.get(op.fd)
            if slot is None or slot.reader is not op or op.cancelled or op.offset < _SMALL_MIN:
                continue
            self._dequeue(slot, op)
            self._disarm(slot)
            slot.ready &= ~_READABLE
            op.route = _NATIVE
            op.expected = 0
            slot.native = op
            slot.leaving = False
            self._queue(op)


def make_ring() -> native_ring.Ring:
    """Make a disabled ring with its buffers.

    Raises:
        OSError: the kernel refuses.
    """
    ring_left.sweep(_this_thread())
    ring = native_ring.Ring(RING_ENTRIES, RING_COMPLETIONS)
    failure = ring.make_group(_GROUP, RING_BUFFERS_MAX, RING_BUFFER_BYTES)
    if failure < 0:
        ring.close()
        raise OSError(-failure, "the ring takes no provided buffers")
    ring.provide(RING_BUFFERS_MIN)
    return ring


def _this_thread() -> Any:
    """Give an object that stands for the calling thread, and never for a later one."""
    try:
        return _threads.identity
    except AttributeError:
        _threads.identity = object()
        return _threads.identity
