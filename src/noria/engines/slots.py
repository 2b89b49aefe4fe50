# cython: boundscheck=False, wraparound=False
"""Slots: what a readiness engine knows of each descriptor number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import weakref

    from noria.core.operation import Operation


class Slot:
    """What the engine knows of one descriptor number.

    Attributes:
        fd: the number, -1 once it is forgotten; news for such a slot are dropped.
        interest: what the poller was told, READABLE and WRITABLE or-ed together.
        ready: what is known to be ready and has not been used up.
        reader, writer: the operation at the head of each lane.
        readers, writers: further operations behind it, None when there are none.
        level: a borrowed descriptor, watched level-triggered.
        holder: weak reference to the borrowed socket that the registration was made for.
        generation: generation of the owning Descriptor, 0 for a borrowed one.
        listed: it is on the ready list.
        native: the receive or accept of this descriptor that the kernel has, on a ring engine.
        leaving: that one is being taken back, to go on by readiness.
        vain: first attempts of its user to receive, one after the other, that were in vain.
    """

    __slots__ = (
        "fd",
        "generation",
        "holder",
        "interest",
        "leaving",
        "level",
        "listed",
        "native",
        "reader",
        "readers",
        "ready",
        "vain",
        "writer",
        "writers",
    )

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.interest = 0
        self.ready = 0
        self.reader: Operation | None = None
        self.writer: Operation | None = None
        self.readers: list[Operation] | None = None
        self.writers: list[Operation] | None = None
        self.level = False
        self.holder: weakref.ref[Any] | None = None
        self.generation = 0
        self.listed = False
        self.native: Operation | None = None
        self.leaving = False
        self.vain = 0

    def operations(self) -> list[Operation]:
        """Every operation that waits here."""
        heads = [op for op in (self.reader, self.writer) if op is not None]
        return heads + (self.readers or []) + (self.writers or [])

    def take_operations(self) -> list[Operation]:
        """Give every operation that waits here, and wait for none any more."""
        if self.reader is None and self.writer is None:
            return []  # nobody queues behind nobody
        taken = self.operations()
        self.reader = self.writer = None
        self.readers = self.writers = None
        return taken


class SlotTable:
    """Slots by descriptor number.

    A list, because the kernel gives out the lowest free number: the table stays as small as the
    number of open files, and a look-up makes no objects.
    """

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: list[Slot | None] = []

    def get(self, fd: int) -> Slot | None:
        """Give the slot of a number, or None."""
        if 0 <= fd < len(self._slots):
            return self._slots[fd]
        return None

    def put(self, slot: Slot) -> None:
        """Enter a slot under its number."""
        missing = slot.fd + 1 - len(self._slots)
        if missing > 0:
            self._slots.extend([None] * missing)
        self._slots[slot.fd] = slot

    def pop(self, fd: int) -> Slot | None:
        """Take a slot out, or None."""
        slot = self.get(fd)
        if slot is not None:
            self._slots[fd] = None
        return slot

    def all(self) -> list[Slot]:
        """Give every slot."""
        return [slot for slot in self._slots if slot is not None]
