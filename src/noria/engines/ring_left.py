"""Rings that were left while a worker of theirs was stuck on a disk.

The kernel may still move bytes of such a request, so the ring, the memory that was lent for it and
the lease of its descriptor are kept until it has ended. Only the thread that a ring belongs to can
learn of that; it looks whenever it makes or leaves another ring. A ring whose thread has ended is
kept for as long as the process lives: the system does not let a thread go before its requests have
ended, but nobody can tell when that was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.core.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from noria.core.catalog import Discard
    from noria.core.descriptor import Descriptor
    from noria.core.operation import Operation
    from noria.native.ring import Ring


class Left(NamedTuple):
    """A ring that was left, its process and thread, and what is kept for its requests."""

    ring: Ring
    pid: int
    thread: object
    kept: dict[int, tuple[Descriptor | None, Any, Discard | None]]


_left: list[Left] = []


def leave(ring: Ring, thread: object, stuck: Iterable[Operation]) -> None:
    """Close a ring, or keep it as long as one of its requests is stuck.

    Takes the descriptors of the stuck operations and what was lent for them. What one of them opens
    after all is closed, since nobody is told of it any more.

    Args:
        ring: that nobody goes on with.
        thread: stands for the thread that it belongs to.
        stuck: operations that it has and that were given up.
    """
    kept = {}
    for op in stuck:
        kept[id(op)] = (op.descriptor, op.lent, CATALOG[op.code].discard)
        op.descriptor = None
        op.lent = None
    if kept:
        _left.append(Left(ring, os.getpid(), thread, kept))
    else:
        ring.close()


def count() -> int:
    """How many rings are kept."""
    return len(_left)


def sweep(thread: object) -> None:
    """Free what was kept for requests that have ended meanwhile.

    Args:
        thread: stands for the calling thread; rings of others are left alone.
    """
    for each in _left:
        if each.pid == os.getpid() and each.thread is thread:
            _sweep(each)


def _sweep(left: Left) -> None:
    left.ring.enter(0)
    while left.ring.take():
        if not left.ring.tag and not left.ring.more:
            descriptor, _, free = left.kept.pop(id(left.ring.token), (None, None, None))
            if descriptor is not None:
                descriptor.release()
            if free is not None and left.ring.result >= 0:
                free(left.ring.result, None)
    if not left.kept:
        left.ring.close()
        _left.remove(left)
