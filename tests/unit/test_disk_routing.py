"""A backend that was asked for does nearly all of its own operations itself.

Its own are those whose codes it has. What it gives to others is listed here with the reason; more
than a tenth that is not listed is a failure.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from noria import lowlevel
from noria.core import codes
from noria.core.operation import AUTOMATIC, DIRECT, IN_FLIGHT, Operation
from noria.disk import linux_aio
from noria.disk.registry import BACKENDS, RING
from noria.disk.threads import DATA_CODES
from noria.errors import EngineUnavailableError
from tests.disks import BLOCK_BYTES, Files, Rig, direct_memory, operation, waits_for_no_disk

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="calls of Unix")

SHARE_MAX = 0.1
COUNT = 400

LISTED = {
    ("linux_aio", "buffered"): {
        linux_aio.BUFFERED_WRITE: "few file systems have buffered writes that do not wait",
        linux_aio.WAITING: "io_submit would read from the disk itself what is not cached",
        linux_aio.PARTLY_CACHED: "the same, for what is not cached of it",
    },
}
"""What goes to threads however often it comes, by backend and kind of file."""

UNKNOWN_NOWAIT = {linux_aio.REFUSED: "the file system does not know RWF_NOWAIT, as tmpfs"}

LACKING = {
    "linux_aio": {codes.TRUNCATE, codes.CLOSE_FILE, codes.ALLOCATE, codes.ADVISE, codes.WRITE_FILE},
    "posix_aio": {
        codes.TRUNCATE,
        codes.CLOSE_FILE,
        codes.ALLOCATE,
        codes.ADVISE,
        codes.WRITE_FILE,
        codes.READ_VECTOR_AT,
        codes.WRITE_VECTOR_AT,
    },
    "threads": set[int](),
}
"""Operations on open files that the interfaces of the system do not have."""


def mixed(fd: int, own: frozenset[int]) -> list[Operation]:
    """Operations of every kind that a backend has, on a file of four mebibytes."""
    dice = random.Random(20)
    kinds = {
        codes.READ_AT: 20,
        codes.READ_INTO_AT: 30,
        codes.READ_VECTOR_AT: 10,
        codes.WRITE_AT: 20,
        codes.WRITE_VECTOR_AT: 10,
        codes.FSYNC: 2,
        codes.DATASYNC: 8,
    }
    chosen = [code for code in kinds if code in own]
    found = []
    for code in dice.choices(chosen, [kinds[code] for code in chosen], k=COUNT):
        offset = dice.randrange(1000) * BLOCK_BYTES
        if code == codes.READ_AT:
            found.append(operation(code, fd, None, offset, BLOCK_BYTES))
        elif code in (codes.READ_VECTOR_AT, codes.WRITE_VECTOR_AT):
            found.append(operation(code, fd, [direct_memory(), direct_memory()], offset))
        elif code in (codes.FSYNC, codes.DATASYNC):
            found.append(operation(code, fd))
        else:
            found.append(operation(code, fd, direct_memory(), offset))
    return found


@pytest.mark.parametrize("kind", ["direct", "buffered"])
@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_does_its_own_operations(name: str, kind: str, tmp_path: Path) -> None:
    probe = BACKENDS[name].probe()
    if not probe.available:
        pytest.skip(f"{name}: {probe.reason}")
    files, rig = Files(tmp_path), Rig(name)
    try:
        fd = files.direct if kind == "direct" else files.buffered
        own = BACKENDS[name].codes
        if kind == "direct":
            files.forget()
            own -= {codes.READ_AT}  # its memory is where Python puts it, direct I/O refuses it
        operations = mixed(fd, own)
        for start in range(0, COUNT, 50):
            batch = operations[start : start + 50]
            rig.do(*batch, way=DIRECT if kind == "direct" else AUTOMATIC)
        wrong = [op for op in operations if op.result < 0]
        assert not wrong, f"{wrong[0]}: {wrong[0].result}"
        listed = dict(LISTED.get((name, kind), {}))
        if not waits_for_no_disk(files.buffered):
            listed |= UNKNOWN_NOWAIT
        statistics = rig.disk.statistics()
        rerouted = statistics.backends[0].rerouted
        elsewhere = sum(count for reason, count in rerouted.items() if reason not in listed)
        elsewhere += sum(count for route, count in statistics.routes.items() if route != name)
        assert statistics.routes[name] == COUNT
        assert elsewhere <= SHARE_MAX * COUNT, dict(rerouted)
        if name == "linux_aio" and kind == "direct" and not listed:
            assert statistics.backends[0].calls["taken"] >= (1 - SHARE_MAX) * COUNT
    finally:
        rig.close()
        files.close()


@pytest.mark.parametrize("name", BACKENDS)
def test_what_a_backend_lacks_is_listed(name: str) -> None:
    assert DATA_CODES - BACKENDS[name].codes == LACKING[name]
    assert not BACKENDS[name].codes - DATA_CODES


@pytest.mark.skipif(sys.platform != "linux", reason="there are rings on Linux only")
def test_the_ring_does_its_own_operations(tmp_path: Path) -> None:
    probes = dict(lowlevel.explain())
    if not probes["uring"].available:
        pytest.skip(f"uring: {probes['uring'].reason}")
    engine = lowlevel.choose("uring").engine_class()
    batch = lowlevel.Completions()
    files = Files(tmp_path)
    try:
        try:
            engine.use_disk(RING)
        except EngineUnavailableError as exc:
            pytest.skip(str(exc))
        operations = mixed(files.buffered, DATA_CODES)
        for op in operations:
            if not engine.submit(op):
                while op.state == IN_FLIGHT:
                    engine.poll(10**9, batch)
                    batch.deliver_all()
        assert min(op.result for op in operations) >= 0
        routes = engine.disk_statistics().routes
        assert routes[RING] >= (1 - SHARE_MAX) * COUNT, dict(routes)
    finally:
        engine.close(batch)
        files.close()
