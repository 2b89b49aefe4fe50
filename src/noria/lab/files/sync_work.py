"""The work of the rows without an event loop: what noria.lab.files.work does, without `await`."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final

from noria.lab.files import sync_os
from noria.lab.files.ground import (
    BLOCK_BYTES,
    HOT_BYTES,
    LINES,
    PIECE_BYTES,
    SMALL_BYTES,
    Checker,
    Ground,
    aligned_memory,
    shuffled,
    warm_cache,
)
from noria.lab.files.work import STATS, Meter, begin_sequence, now_ns, small_names

if TYPE_CHECKING:
    from collections.abc import Callable

    SyncWork = Callable[..., Meter]


def hot(ground: Ground, seconds: float, seed: int) -> Meter:
    """Read cached blocks."""
    meter = Meter(seconds)
    warm_cache(ground.hot)
    slot = sync_os.SyncSlot(ground.hot)
    try:
        read, arguments = slot.read(BLOCK_BYTES)
        calls = [arguments(offset) for offset in shuffled(HOT_BYTES, seed)]
        with meter:
            while now_ns() < meter.end_ns:
                for call in calls:
                    read(*call)
                meter.operations += len(calls)
    finally:
        slot.close()
    return meter


def stat(ground: Ground, seconds: float, seed: int) -> Meter:
    """Look at one cached name, again and again."""
    meter = Meter(seconds)
    look, arguments = sync_os.stat(ground.hot)
    calls = [arguments(0)] * STATS
    with meter:
        while now_ns() < meter.end_ns:
            for call in calls:
                look(*call)
            meter.operations += len(calls)
    return meter


def durable(ground: Ground, seconds: float, seed: int) -> Meter:
    """Write a block and have it reach the disk, one after the other."""
    meter = Meter(seconds)
    slot = sync_os.SyncSlot(ground.scratch, write=True)
    try:
        write, arguments = slot.write(bytes(BLOCK_BYTES))
        datasync = slot.datasync
        calls = [arguments(offset) for offset in shuffled(ground.scratch_bytes, seed)]
        with meter:
            for call in itertools.cycle(calls):
                write(*call)
                datasync()
                meter.operations += 1
                if now_ns() >= meter.end_ns:
                    break
    finally:
        slot.close()
    return meter


def lines(ground: Ground, seconds: float, seed: int, *, binary: bool) -> Meter:
    """Go through the lines of a cached text."""
    meter = Meter(seconds)
    warm_cache(ground.lines)
    passes = 0
    with meter:
        while now_ns() < meter.end_ns:
            count = 0
            with sync_os.lines(ground.lines, binary=binary) as file:
                for _ in file:
                    count += 1
            meter.operations += count
            passes += 1
    meter.fail("wrong lines", abs(meter.operations - passes * LINES))
    return meter


def small(ground: Ground, seconds: float, seed: int, *, depth: int, sync: bool) -> Meter:
    """Make small files, write, close, read and remove each: one after the other at any depth."""
    meter = Meter(seconds)
    data = os.urandom(SMALL_BYTES)
    names = small_names(ground, seed)
    wrong = 0
    with meter:
        for name in names:
            wrong += sync_os.live(name, data, sync=sync) != data
    meter.operations = len(names)
    meter.fail("wrong files", wrong)
    return meter


def sequence(ground: Ground, seconds: float, seed: int, *, write: bool, depth: int = 2) -> Meter:
    """Read the large file, or write over the scratch file, by MiB from its beginning on.

    In turn from or into as many memories as the others have in flight: one alone would stay in the
    processor's nearest caches, which takes a fifth off the time of a write.
    """
    meter = Meter(seconds)
    path, size = begin_sequence(ground, write=write)
    slot = sync_os.SyncSlot(path, write=write)
    try:
        memory = aligned_memory(depth * PIECE_BYTES)
        pieces = [memory[at : at + PIECE_BYTES] for at in range(0, len(memory), PIECE_BYTES)]
        asked = [slot.write(piece) if write else slot.read_into(piece) for piece in pieces]
        calls = []
        for number, offset in enumerate(range(0, size, PIECE_BYTES)):
            function, arguments = asked[number % depth]
            calls.append((function, arguments(offset)))
        with meter:
            for function, call in itertools.cycle(calls) if write else calls:
                function(*call)
                meter.operations += 1
                if now_ns() >= meter.end_ns:
                    break
        if not write:
            last = meter.operations - 1
            piece = pieces[last % depth]
            meter.fail("wrong pieces", not Checker().is_right(piece, last * PIECE_BYTES))
    finally:
        slot.close()
    return meter


SYNC_WORKS: Final[dict[str, SyncWork]] = {
    work.__name__: work for work in (hot, stat, durable, lines, small, sequence)
}
