# cython: boundscheck=False, wraparound=False
"""Registrations: who waits on which descriptor, and what the poller was told of it.

One slot per descriptor remembers both. Registrations stay after an operation has settled; the
interest is dropped lazily, when news arrive that nobody wants.

Borrowed descriptors (E3 does not hold for them: the user may close them any time) are watched
level-triggered. A registration of a borrowed socket is trusted only while the same socket object
asks; for a bare number it is renewed each time, because the number may belong to another file by
now.
"""

from __future__ import annotations

import errno
import weakref
from typing import TYPE_CHECKING, Any

from noria.core import codes
from noria.core.catalog import READ
from noria.engines.interface import READABLE, STOPS_SHORT, WRITABLE, Engine, Poller
from noria.engines.slots import Slot, SlotTable
from noria.limits import VAIN_RECEIVES_MAX, VAIN_RECEIVES_MIN
from noria.native import sockets as native

if TYPE_CHECKING:
    from noria.core.operation import Operation

# Names for the compiler, typed in the .pxd.
_EBADF = errno.EBADF
_ECANCELED = errno.ECANCELED
_READABLE = READABLE
_WRITABLE = WRITABLE
_STOPS_SHORT = STOPS_SHORT
_READ = READ
_LAST_FD = 2**31 - 1  # of a C int
_WAIT_READABLE = codes.WAIT_READABLE
_WAIT_WRITABLE = codes.WAIT_WRITABLE
_VAIN_MIN = VAIN_RECEIVES_MIN
_VAIN_MAX = VAIN_RECEIVES_MAX


class Registrations(Engine):
    """The book-keeping half of a readiness engine.

    Attributes:
        poller: the source of readiness.
    """

    def __init__(self, poller: Poller) -> None:
        Engine.__init__(self)
        self.poller = poller
        self.interest_changes = 0
        self._edge = poller.edge
        self._slots = SlotTable()
        self._listed: list[Slot] = []
        self._cancelled: list[Operation] = []
        self._orphans: set[int] = set()
        self._stale = False

    def forget(self, fd: int) -> None:
        """Drop a number: registration, waiting operations and news already fetched."""
        self.acted = True
        slot = self._slots.pop(fd)
        if slot is None:
            return
        if slot.interest and not self.forked:
            self._change(slot, 0)
        slot.fd = -1
        for op in slot.take_operations():
            op.cancelled = True
            op.settle(-_ECANCELED)
            self._cancelled.append(op)

    def owned(self, fd: int) -> bool:
        """Whether the slot of a number belongs to a Descriptor that is not closing."""
        if not 0 <= fd <= _LAST_FD:
            return False
        slot = self._slots.get(fd)
        return slot is not None and slot.generation != 0

    def note_attempt(self, fd: int, sock: Any, vain: bool) -> None:
        """Count the attempts in a row that were in vain."""
        slot = self._slots.get(fd)
        if slot is not None and slot.holder is not None and slot.holder() is sock:
            slot.vain = slot.vain + 1 if vain else 0

    def expects_vain(self, fd: int, sock: Any) -> bool:
        """Expect it after VAIN_RECEIVES_MIN in a row, and ask for an attempt after each _MAX."""
        slot = self._slots.get(fd)
        if slot is None or slot.vain < _VAIN_MIN:
            return False
        if slot.holder is None or slot.holder() is not sock:
            return False
        slot.vain += 1
        if slot.vain < _VAIN_MAX:
            return True
        slot.vain = _VAIN_MIN - 1  # one in vain, and it is expected again
        return False

    # -- whose descriptor -------------------------------------------------------------------

    def _slot_of(self, op: Operation) -> Slot:
        """Find or make the slot of an operation's descriptor."""
        slot = self._slots.get(op.fd)
        if slot is None:
            slot = Slot(op.fd)
            self._slots.put(slot)
            self._adopt(slot, op)
        elif op.borrowed or slot.level:
            self._adopt(slot, op)
        elif op.descriptor is not None and op.descriptor.generation != slot.generation:
            slot = self._replace(slot, op)
        return slot

    def _adopt(self, slot: Slot, op: Operation) -> None:
        """Note whose descriptor the slot is, and drop what is known of another holder's."""
        if not op.borrowed:
            if slot.level:
                self._evict(slot)
                slot.level = False
                slot.holder = None
            if op.descriptor is not None:
                slot.generation = op.descriptor.generation
            if self._edge and native.is_unix(op.fd, op.sock):
                slot.ready |= _STOPS_SHORT
            return
        if slot.generation:
            self._evict(slot)
            slot.generation = 0
        slot.level = True
        if op.sock is None:
            self._drop_closed(slot)
            slot.interest = 0
        elif slot.holder is None or slot.holder() is not op.sock:
            self._drop_closed(slot)
            slot.interest = 0
            slot.ready = 0
            slot.vain = 0
            slot.holder = weakref.ref(op.sock)

    def _drop_closed(self, slot: Slot) -> None:
        """End what waits for a socket that its user has closed, or it gets the next file's news."""
        if slot.reader is None and slot.writer is None:
            return
        for op in slot.operations():
            if op.sock is not None and op.sock.fileno() != slot.fd:
                self._dequeue(slot, op)
                op.settle(-_EBADF)
                self._cancelled.append(op)

    def _evict(self, slot: Slot) -> None:
        """End what waits on a number that has changed hands behind the engine's back."""
        for op in slot.take_operations():
            op.cancelled = not op.borrowed
            op.settle(-_EBADF if op.borrowed else -_ECANCELED)
            self._cancelled.append(op)
        slot.interest = 0
        slot.ready = 0

    def _replace(self, slot: Slot, op: Operation) -> Slot:
        self.forget(slot.fd)
        fresh = Slot(op.fd)
        self._slots.put(fresh)
        self._adopt(fresh, op)
        return fresh

    # -- lanes ------------------------------------------------------------------------------

    def _enqueue(self, slot: Slot, op: Operation) -> None:
        if op.lane == _READ:
            bit = _READABLE
            first = slot.reader is None
            if first:
                slot.reader = op
            elif slot.readers is None:
                slot.readers = [op]
            else:
                slot.readers.append(op)
        else:
            bit = _WRITABLE
            first = slot.writer is None
            if first:
                slot.writer = op
            elif slot.writers is None:
                slot.writers = [op]
            else:
                slot.writers.append(op)
        if slot.ready & bit:
            if self._edge and not slot.level:
                self._list_again(slot)  # an edge that came while nobody waited
            elif first:
                slot.ready &= ~bit  # news for somebody earlier; the poller tells them again

    def _dequeue(self, slot: Slot, op: Operation) -> None:
        if slot.reader is op:
            slot.reader = slot.readers.pop(0) if slot.readers else None
        elif slot.writer is op:
            slot.writer = slot.writers.pop(0) if slot.writers else None
        elif slot.readers is not None and op in slot.readers:
            slot.readers.remove(op)
        elif slot.writers is not None and op in slot.writers:
            slot.writers.remove(op)

    def _only_waits(self, op: Operation) -> bool:
        return op.code in (_WAIT_READABLE, _WAIT_WRITABLE)

    def _list_again(self, slot: Slot) -> None:
        if not slot.listed:
            slot.listed = True
            self._listed.append(slot)

    # -- what the poller is told ------------------------------------------------------------

    def _arm(self, slot: Slot, op: Operation) -> int:
        needed = _READABLE if op.lane == _READ else _WRITABLE
        if self._edge and not slot.level:
            if not slot.interest:
                return self._change(slot, _READABLE | _WRITABLE)  # edges cost nothing until then
            if self._only_waits(op):
                # Nobody knows how much was read since the last edge; asking anew tells what is
                # there.
                slot.ready &= ~needed
                self.interest_changes += 1
                return self.poller.modify(slot.fd, slot.interest, slot.interest, False)
            return 0
        if slot.interest & needed:
            return 0
        if slot.reader is not None:
            needed |= _READABLE
        if slot.writer is not None:
            needed |= _WRITABLE
        return self._change(slot, slot.interest | needed)

    def _disarm(self, slot: Slot) -> None:
        wanted = 0 if slot.reader is None else _READABLE
        if slot.writer is not None:
            wanted |= _WRITABLE
        if slot.interest & ~wanted:
            self._change(slot, slot.interest & wanted)

    def _change(self, slot: Slot, interest: int) -> int:
        if (interest == slot.interest and interest) or self.forked:
            return 0  # what a forked child changed would be changed for its parent too
        self.interest_changes += 1
        result = self.poller.modify(slot.fd, slot.interest, interest, slot.level)
        if result == 0:
            slot.interest = interest
        elif not interest:
            slot.interest = 0  # closed by its user meanwhile: the kernel has dropped it already,
            if self.poller.lasting:
                self._orphans.add(slot.fd)  # unless there is a duplicate
            return 0
        return result

    def _renew(self) -> bool:
        """Get rid of registrations that report and that nobody can remove; see engines/epoll.py.

        All others are made again, but for those of borrowed descriptors that nobody waits for.
        False if there is no descriptor left for it: the next news try again.
        """
        if self.poller.renew() < 0:
            return False
        self._stale = False
        self._orphans.clear()
        self.interest_changes += 1
        for slot in self._slots.all():
            wanted = slot.interest
            if slot.level:
                self._drop_closed(slot)
                wanted = 0 if slot.reader is None else _READABLE
                if slot.writer is not None:
                    wanted |= _WRITABLE
            slot.interest = 0
            if wanted and self.poller.modify(slot.fd, 0, wanted, slot.level) == 0:
                slot.interest = wanted
        return True
