"""Backend `threads`: blocking calls in bounded crews of threads.

Facts: a hop to a thread and back costs 10 microseconds and more, many times the call itself when
the data is cached. It is the backend that every system has, the measure for the others, and where
everything goes that they cannot do. A call that has begun cannot be stopped; cancelling reaches
only what still queues.

There are three crews, so that what hangs in one of them holds nobody up in another:

- data: transfers, and what forces them to the device. Compiled on Linux its threads are C's, which
  run without the interpreter lock; they are cheap, and there may be as many as a device takes
  requests at a time. They change names, too.
- names: what looks up or changes names, and several steps that belong together.
- waiting: what may wait for ever for somebody else, such as opening a FIFO.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import noria.operations  # noqa: F401 - enters the operations into the catalog
from noria.core import codes
from noria.core.catalog import CATALOG
from noria.core.operation import DIRECT, WAITING
from noria.disk.crew import ThreadCrew
from noria.disk.interface import BackendStatistics, DiskBackend, DiskProbe
from noria.limits import (
    OFFLOAD_BULK_THREADS_MAX,
    OFFLOAD_CLOSE_SECONDS,
    OFFLOAD_DATA_THREADS_MAX,
    OFFLOAD_IDLE_SECONDS,
    OFFLOAD_NAMES_THREADS_MAX,
    OFFLOAD_QUEUE_MAX,
    OFFLOAD_STACK_BYTES,
    OFFLOAD_WAITING_THREADS_MAX,
    OFFLOAD_WATCH_NS,
    VECTOR_PARTS_MAX,
)
from noria.native import crew as native
from noria.native.crew import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.core.descriptor import Descriptor
    from noria.core.operation import Operation
    from noria.native.crew import Crew

DATA_CODES = frozenset(
    {
        codes.READ_AT,
        codes.WRITE_AT,
        codes.FSYNC,
        codes.DATASYNC,
        codes.TRUNCATE,
        codes.CLOSE_FILE,
        codes.READ_INTO_AT,
        codes.READ_VECTOR_AT,
        codes.WRITE_VECTOR_AT,
        codes.ALLOCATE,
        codes.ADVISE,
        codes.WRITE_FILE,
    }
)
"""Operations on open files, and whole files that are written: the crew `data` does them."""

NAME_CODES = frozenset(
    {
        codes.OPEN_FILE,
        codes.UNLINK_AT,
        codes.REMOVE_DIRECTORY_AT,
        codes.MAKE_DIRECTORY_AT,
        codes.RENAME_AT,
        codes.LINK_AT,
        codes.SYMLINK_AT,
    }
)
"""Opening and changes of names, for `data` where its threads are C's, else for `names`."""

# Names for the compiler, typed in the .pxd.
_EINVAL = errno.EINVAL
_EIO = errno.EIO
_WAITING = WAITING
_DIRECT = DIRECT
_WAIT_CHILD = codes.WAIT_CHILD
_CODES = 256
_READ_AT = codes.READ_AT
_ADVISE = codes.ADVISE
_WRITE_FILE = codes.WRITE_FILE
_OPEN_FILE = codes.OPEN_FILE
_READ_VECTOR_AT = codes.READ_VECTOR_AT
_WRITE_VECTOR_AT = codes.WRITE_VECTOR_AT
_PARTS_MAX = VECTOR_PARTS_MAX
_rows = dict(CATALOG)  # what the threads of C know; who replaces a row has it done as it says
_NAMED = 1
_DATA = 2
_groups = bytearray(
    _DATA if code in DATA_CODES else _NAMED if code in NAME_CODES else 0 for code in range(256)
)

_given_up: list[tuple[Crew, dict[int, Descriptor | None]]] = []
"""Crews whose threads did not return in time, with the leases that are kept for them."""


class ThreadBackend(DiskBackend):
    """Three crews; see DiskBackend for the arguments."""

    name = "threads"
    codes = DATA_CODES

    def __init__(
        self,
        wake: Callable[[], None],
        bell: int = -1,
        spill: Callable[[Operation], int] | None = None,
    ) -> None:
        DiskBackend.__init__(self, wake, bell, spill)
        sweep()
        self._crew: Crew | None = None
        self._data: ThreadCrew | None = None
        if native.COMPILED and bell >= 0:
            self._crew = native.Crew(
                bell,
                OFFLOAD_DATA_THREADS_MAX,
                OFFLOAD_BULK_THREADS_MAX,
                OFFLOAD_QUEUE_MAX,
                int(OFFLOAD_IDLE_SECONDS * 1e9),
                OFFLOAD_STACK_BYTES,
                OFFLOAD_WATCH_NS if _processors() > 1 else 0,
            )
        self._names = self._python_crew("names", OFFLOAD_NAMES_THREADS_MAX)
        self._waiting = self._python_crew("waiting", OFFLOAD_WAITING_THREADS_MAX)
        self._submitted = 0
        self._closed = False

    @classmethod
    def probe(cls) -> DiskProbe:
        """Tell what kind of threads there are; they are everywhere."""
        if native.COMPILED:
            return DiskProbe(True, "threads of C for data, of Python for names")
        return DiskProbe(True, "threads of Python")

    def submit(self, op: Operation) -> int:
        """Queue an operation for a thread of its crew."""
        if op.crew == _WAITING or op.code == _WAIT_CHILD:
            return self._waiting.submit(op)
        group = 0 if op.code >= _CODES else _groups[op.code]
        if group == 0:
            return self._names.submit(op)
        if self._crew is None or CATALOG[op.code] is not _rows[op.code]:
            if group == _NAMED:
                return self._names.submit(op)
            if self._data is None:
                self._data = self._python_crew("data", OFFLOAD_DATA_THREADS_MAX)
            return self._data.submit(op)
        if op.code in (_READ_VECTOR_AT, _WRITE_VECTOR_AT) and len(op.buffer) > _PARTS_MAX:
            return -_EINVAL
        advice = 0
        if op.code == _ADVISE:
            advice = op.address
        elif op.code in (_WRITE_FILE, _OPEN_FILE):
            advice = op.size
        buffer = None if group == _NAMED else op.buffer
        job = Job.__new__(Job)
        job.fill(op, op.code, op.fd, buffer, op.offset, op.size, advice)
        if (group == _NAMED or op.code == _WRITE_FILE) and not _name(job, op):
            return -_EINVAL
        if op.way == _DIRECT:
            job.set_beside()
        failure: int = self._crew.submit(job)
        if failure == 0:
            op.lent = job
            self._submitted += 1
        return failure

    def cancel(self, op: Operation) -> bool:
        """Take an operation out of its queue if no thread has started it."""
        if type(op.lent) is Job:
            assert self._crew is not None
            self._crew.cancel(op.lent)
        else:
            for crew in self._python_crews():
                crew.cancel(op)
        return True

    def flush(self, patient: bool = False) -> bool:
        """Have the bell rung when a thread of C is done; those of Python call `wake`."""
        if self._names.ready() or self._waiting.ready():
            patient = False
        if self._crew is not None and self._crew.flush(patient):
            return True
        if self._data is not None and self._data.ready():
            return True
        return self._names.ready() or self._waiting.ready()

    def reap(self, done: list[Operation], count: int) -> None:
        """Take what is done."""
        if self._names.ready():
            self._names.reap(done, count)
        if self._waiting.ready():
            self._waiting.reap(done, count)
        if self._data is not None and self._data.ready():
            self._data.reap(done, count)
        if self._crew is not None:
            self._reap_jobs(done, count)

    def _reap_jobs(self, done: list[Operation], count: int) -> None:
        assert self._crew is not None
        for job in self._crew.reap(count):
            op: Operation = job.token
            result = job.result
            op.lent = None
            op.result = result
            if result >= 0 and op.code == _READ_AT:
                op.buffer = job.taken(result)
            elif result >= 0 and op.code == _OPEN_FILE:
                op.buffer = job.opened()
            job.token = None
            done.append(op)

    def statistics(self) -> BackendStatistics:
        """Give the counters."""
        crews = self._python_crews()
        in_flight = sum(crew.in_flight() for crew in crews)
        submitted = self._submitted + sum(crew.submitted for crew in crews)
        threads = sum(crew.threads() for crew in crews)
        calls = {f"{crew.name}_threads": crew.threads() for crew in crews}
        if self._crew is not None:
            in_flight += self._crew.count(native.IN_FLIGHT)
            calls["data_threads"] = self._crew.count(native.THREADS)
            calls["data_threads_started"] = self._crew.count(native.STARTED)
            calls["data_bells"] = self._crew.count(native.BELLS)
            calls["data_watches"] = self._crew.count(native.WATCHES)
            calls["data_vain_watches"] = self._crew.count(native.VAIN_WATCHES)
            threads += calls["data_threads"]
        return BackendStatistics(self.name, in_flight, submitted, threads, calls, {})

    def close(self, done: list[Operation]) -> None:
        """Cancel the queues, wait for what runs, end the threads."""
        if self._closed:
            return
        self._closed = True
        for crew in self._python_crews():
            crew.close(done, OFFLOAD_CLOSE_SECONDS)
        if self._crew is not None:
            running = self._crew.close(int(OFFLOAD_CLOSE_SECONDS * 1e9))
            self._reap_jobs(done, OFFLOAD_QUEUE_MAX + OFFLOAD_DATA_THREADS_MAX)
            if running:
                self._give_up(running, done)
            self._crew = None  # its descriptor goes with it, at the latest with its last thread
        sweep()

    def _give_up(self, running: list[Job], done: list[Operation]) -> None:
        """Settle what a thread does not come back from; its memory and its lease are kept."""
        assert self._crew is not None
        kept = {}
        for job in running:
            op: Operation = job.token
            if op is None:
                continue  # it has ended and was reaped just now
            kept[id(job)] = op.descriptor
            op.descriptor = None
            op.lent = None
            op.result = -_EIO
            job.token = None
            done.append(op)
        _given_up.append((self._crew, kept))

    def _python_crew(self, name: str, threads_max: int) -> ThreadCrew:
        return ThreadCrew(name, self._wake, threads_max=threads_max, queue_max=OFFLOAD_QUEUE_MAX)

    def _python_crews(self) -> list[ThreadCrew]:
        found = [self._names, self._waiting]
        if self._data is not None:
            found.append(self._data)
        return found


def _processors() -> int:
    """How many processors this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name(job: Job, op: Operation) -> bool:
    """Tell a job its names; False if they cannot be any."""
    if op.code == _WRITE_FILE:
        names = (os.fsencode(op.address), b"")
    else:
        names = (os.fsencode(op.buffer), b"" if op.address is None else os.fsencode(op.address))
    if b"\0" in names[0] or b"\0" in names[1]:
        return False
    job.set_names(*names)
    return True


def sweep() -> None:
    """Free what was kept for jobs that have ended after their backend was closed."""
    for each in list(_given_up):
        crew, kept = each
        for job in crew.reap(OFFLOAD_QUEUE_MAX):
            descriptor = kept.pop(id(job), None)
            if job.kind == _OPEN_FILE and job.result >= 0:
                os.close(job.result)
            if descriptor is not None:
                descriptor.release()
        if crew.count(native.THREADS) == 0 and crew.count(native.IN_FLIGHT) == 0:
            _given_up.remove(each)
