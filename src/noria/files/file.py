# cython: boundscheck=False, wraparound=False
"""File: an open file, accessed at positions that the caller names (F1).

Any number of operations may be in flight; none moves another's position. What is in the page cache
is read at once, without a thread and without a turn of the ring, up to a bound; where it rarely is,
every eighth read looks there. Everything else goes the way that has been quickest on this
filesystem. Streams, which have a position of their own, are built on it.
"""

from __future__ import annotations

import asyncio
import errno
import io
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from noria.core.buffer import lend_readable, lend_writable
from noria.core.clock import MonotonicClock
from noria.core.codes import (
    ADVISE,
    ALLOCATE,
    DATASYNC,
    FSYNC,
    READ_VECTOR_AT,
    TRUNCATE,
    WRITE_VECTOR_AT,
)
from noria.core.operation import BACKEND, BY_THREAD, DIRECT, NATIVE
from noria.files.aligned import AlignedPool, check_aligned
from noria.files.filesystems import ALONE, FORCING, READING, WRITING
from noria.files.operation import Settled, settled
from noria.files.transfers import (
    CloseOperation,
    FileTransfer,
    ForceTransfer,
    PlainTransfer,
    PooledReadTransfer,
    ReadIntoTransfer,
    ReadTransfer,
    VectorTransfer,
    WriteTransfer,
)
from noria.files.turns import Turns
from noria.files.ways import MEASURED
from noria.limits import (
    INLINE_HITS_MAX,
    LOOK_BYTES_MAX,
    LOOK_EVERY,
    LOOK_LUCK_MAX,
    LOOK_LUCK_MIN,
)
from noria.native import files as native
from noria.native import views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable

    from noria.core.descriptor import Descriptor
    from noria.files.filesystems import Filesystem
    from noria.files.host import Host

# Names for the compiler, typed in the .pxd.
_EOPNOTSUPP = errno.EOPNOTSUPP
_DIRECT = DIRECT
_NATIVE = NATIVE
_BACKEND = BACKEND
_READING = READING
_ALONE = ALONE
_WRITING = WRITING

_MEASURED = MEASURED
_BY_THREAD = BY_THREAD
_HITS_MAX = INLINE_HITS_MAX
_LUCK_MAX = LOOK_LUCK_MAX
_LUCK_MIN = LOOK_LUCK_MIN
_LOOK_EVERY = LOOK_EVERY
_LOOK_MAX = LOOK_BYTES_MAX

_clock = MonotonicClock()


class FileStatistics(NamedTuple):
    """What was done with one open file.

    Attributes:
        hits: reads that were answered from the page cache at once.
        native: operations that the engine's ring did.
        backend: operations that a disk backend did.
        in_flight: operations that have not ended.
        bytes_read: bytes that reads brought.
        bytes_written: bytes that writes moved.
        filesystem: the filesystem's type, such as "ext4".
    """

    hits: int
    native: int
    backend: int
    in_flight: int
    bytes_read: int
    bytes_written: int
    filesystem: str


class File:
    """An open file.

    Args:
        host: what gets its operations done.
        descriptor: owns the number.
        name: what it was opened by, for exceptions.
        filesystem: what is known of where it lies; None if it is no regular file.
        readable: it is open for reading.
        writable: it is open for writing.
        appending: writes go to its end (O_APPEND).
        alignment: what direct I/O demands in bytes; 0 if it is not open for that.
        closefd: close the number with the file.

    Attributes:
        fd: the number, -1 once it is closed.
        name: what it was opened by.
        sync_errno: of the first failed sync, 0 if there was none.
    """

    def __init__(
        self,
        host: Host,
        descriptor: Descriptor,
        name: Any,
        filesystem: Filesystem | None = None,
        *,
        readable: bool = True,
        writable: bool = True,
        appending: bool = False,
        alignment: int = 0,
        closefd: bool = True,
    ) -> None:
        self.host = host
        self.descriptor = descriptor
        self.fd = descriptor.fd
        self.name = name
        self.filesystem = filesystem
        self.ways = None if filesystem is None else filesystem.ways
        self.alignment = alignment
        self.closefd = closefd
        self.can_read = readable
        self.can_write = writable
        self.appending = appending
        self.plain = filesystem is not None and filesystem.in_memory and not alignment
        self.looks = filesystem is not None and filesystem.looks is not False and not alignment
        self.luck = LOOK_LUCK_MAX
        self.left_out = 0
        self.pool: Any = AlignedPool() if alignment else None
        self.sync_errno = 0
        self.in_flight = 0
        self.hits = 0
        self.done_native = 0
        self.done_backend = 0
        self.bytes_read = 0
        self.bytes_written = 0
        self._closing: asyncio.Task[None] | None = None
        self.turns = Turns() if appending and alignment else None
        self._idle: list[asyncio.Future[None]] = []

    # -- reading ------------------------------------------------------------------------------

    def read_at(self, size: int, offset: int) -> Awaitable[bytes]:
        """Read at most `size` bytes at `offset`, wherever the position of a stream is (pread(2)).

        The read begins with the call, and has ended with it if the bytes are in the page cache.

        Args:
            size: bytes; fewer come at the end of the file only.
            offset: where to begin, in bytes from the beginning of the file.

        Returns:
            What gives the bytes; empty at the end of the file.

        Raises:
            ValueError: the file is closed, size or offset is negative, or not aligned on a file
                that was opened with `direct=True`.
            io.UnsupportedOperation: it was not opened for reading.
            OSError: when awaited; `offset` and `bytes_done` of it tell how far the read came.
        """
        if self.fd < 0 or size < 0 or offset < 0 or not self.can_read:
            self._check(self.can_read, size, offset, "reading")
        if self.looks and size <= _LOOK_MAX and (self.luck >= _LUCK_MIN or self._look_again()):
            data = native.read_now(self.fd, size, offset, self.plain)
            if type(data) is bytes:
                count = len(data)
                if count in (size, 0):
                    return self._hit(data, count)
                rest = native.read_now(self.fd, size - count, offset + count, self.plain)
                if type(rest) is bytes and not rest:
                    return self._hit(data, count)
            elif data == -_EOPNOTSUPP:
                self._look_no_more()
            else:
                self.luck -= self.luck >> 3
            if self.filesystem is not None and self.filesystem.looks is None:
                self.filesystem.looks = True
        if self.alignment:
            return self._read_direct(size, offset)
        transfer = ReadTransfer.__new__(ReadTransfer)
        transfer.read(self, size, offset, _READING)
        return transfer.start()

    def _hit(self, outcome: Any, count: int) -> Settled:
        host = self.host
        self.luck += (_LUCK_MAX - self.luck) >> 3
        self.hits += 1
        self.bytes_read += count
        host.hits += 1
        pausing = host.hits >= _HITS_MAX
        if pausing:
            host.hits = 0
        return settled(host, outcome, pausing)

    def _read_direct(self, size: int, offset: int) -> Awaitable[bytes]:
        if not views.fits(None, self.alignment, offset, size):
            check_aligned(self.alignment, offset, size)
        if size == 0:
            return settled(self.host, b"", False)
        memory = self.pool.take(size)
        transfer = PooledReadTransfer.__new__(PooledReadTransfer)
        transfer.read_pooled(self, memory, size, offset, _READING)
        return transfer.start()

    def readinto_at(self, buffer: Any, offset: int) -> Awaitable[int]:
        """Read at `offset` into writable memory, which is the kernel's until the read has ended.

        Args:
            buffer: writable bytes-like object, contiguous; filled unless the file ends before.
            offset: where to begin, in bytes.

        Returns:
            What gives the number of bytes; 0 at the end of the file.

        Raises:
            TypeError: the memory is read-only or not contiguous.
            ValueError, io.UnsupportedOperation, OSError: as for `read_at`.
        """
        view = lend_writable(buffer)
        size = len(view)
        if self.fd < 0 or offset < 0 or not self.can_read:
            self._check(self.can_read, 0, offset, "reading")
        if self.alignment:
            if not views.fits(view, self.alignment, offset, size):
                check_aligned(self.alignment, offset, size, view)
        elif self.looks and size <= _LOOK_MAX and (self.luck >= _LUCK_MIN or self._look_again()):
            count = native.read_now_into(self.fd, view, offset, self.plain)
            if count in (size, 0):
                return self._hit(count, count)
            if count == -_EOPNOTSUPP:
                self._look_no_more()
            self.luck -= self.luck >> 3
        if not size:
            return settled(self.host, 0, False)
        transfer = ReadIntoTransfer.__new__(ReadIntoTransfer)
        transfer.read_into(self, view, offset, _READING)
        return transfer.start()

    def readv_at(self, buffers: Iterable[Any], offset: int) -> Awaitable[int]:
        """Read at `offset` into several memories, one behind the other (preadv(2)).

        Arguments, result and errors are those of `readinto_at`, but for the list.
        """
        views = [lend_writable(buffer) for buffer in buffers]
        self._check(self.can_read, 0, offset, "reading")
        return self._vector(READ_VECTOR_AT, views, offset, READING)

    # -- writing ------------------------------------------------------------------------------

    def write_at(self, data: Any, offset: int) -> Awaitable[int]:
        """Write all of `data` at `offset`, wherever the position of a stream is (pwrite(2)).

        On a file opened for appending Linux writes at the end all the same.

        Args:
            data: bytes-like object; it must not change until the write has ended.
            offset: where to begin, in bytes from the beginning of the file.

        Returns:
            What gives the number of bytes, which is all of them.

        Raises:
            ValueError: the file is closed, the offset is negative, or not aligned with
                `direct=True`.
            io.UnsupportedOperation: it was not opened for writing.
            OSError: when awaited; `offset` and `bytes_done` of it tell what was written.
        """
        view = lend_readable(data)
        size = len(view)
        if self.fd < 0 or offset < 0 or not self.can_write:
            self._check(self.can_write, 0, offset, "writing")
        if self.alignment and not views.fits(view, self.alignment, offset, size):
            check_aligned(self.alignment, offset, size, view)
        if not size:
            return settled(self.host, 0, False)
        transfer = WriteTransfer.__new__(WriteTransfer)
        transfer.write(self, view, offset, _WRITING, True)
        return transfer.start()

    def writev_at(self, buffers: Iterable[Any], offset: int) -> Awaitable[int]:
        """Write several memories at `offset`, one behind the other (pwritev(2)).

        Arguments, result and errors are those of `write_at`, but for the list.
        """
        views: list[Any] = [lend_readable(buffer) for buffer in buffers]
        self._check(self.can_write, 0, offset, "writing")
        return self._vector(WRITE_VECTOR_AT, views, offset, WRITING)

    def append(self, data: Any) -> Awaitable[int]:
        """Write `data` at the end of the file in one piece, which no other append tears apart.

        Only on a file opened for appending: then the system finds the end and writes as one step
        (write(2), O_APPEND; not on NFS). With direct I/O they take turns, since XFS does not
        keep them apart; it does not keep those of another opening apart either.

        Returns:
            What gives the number of bytes, which is all of them.

        Raises:
            io.UnsupportedOperation: it was not opened for appending.
            ValueError: it is closed.
            OSError: when awaited; also (EIO) if the system wrote a part only, see `bytes_done`.
        """
        view = lend_readable(data)
        self._check(self.can_write, 0, 0, "writing")
        if not self.appending:
            raise io.UnsupportedOperation("append: the file is not open in mode 'a'")
        if self.alignment and not views.fits(view, self.alignment, 0, len(view)):
            check_aligned(self.alignment, 0, len(view), view)
        if not len(view):
            return settled(self.host, 0, False)
        return WriteTransfer(self, view, 0, _WRITING, False).start()

    def _vector(self, code: int, views: list[Any], offset: int, kind: int) -> Awaitable[int]:
        if self.alignment:
            place = offset
            for view in views:
                check_aligned(self.alignment, place, len(view), view)
                place += len(view)
        views = [view for view in views if len(view)]
        if not views:
            return settled(self.host, 0, False)
        return VectorTransfer(self, code, views, offset, kind).start()

    # -- the file as a whole ------------------------------------------------------------------

    def sync(self) -> Awaitable[None]:
        """Force data and metadata to the device (fsync(2)).

        A failure reaches everybody who waits for a sync of this file, and every later sync fails
        as well: what the kernel gave up it has forgotten, and trying again would report success.

        Raises:
            ValueError: the file is closed.
            OSError: when awaited.
        """
        return self._force(FSYNC)

    def datasync(self) -> Awaitable[None]:
        """Force data to the device, and the metadata that finding it takes (fdatasync(2)).

        Errors are those of `sync`.
        """
        return self._force(DATASYNC)

    def _force(self, code: int) -> Awaitable[None]:
        self._check(True, 0, 0, "")
        transfer = ForceTransfer(self, code, FORCING)
        if self.sync_errno:
            pending = transfer.pending
            assert pending is not None
            transfer.fail(transfer.exception_of(-self.sync_errno))
            return pending
        return transfer.start()

    def truncate_at(self, size: int) -> Awaitable[None]:
        """Make the file `size` bytes long, with zeros where it grows (ftruncate(2))."""
        self._check(self.can_write, size, 0, "writing")
        return PlainTransfer(self, TRUNCATE, size, WRITING).start()

    def allocate(self, offset: int, size: int) -> Awaitable[None]:
        """Reserve room on the disk, so that writing there later does not fail for lack of it.

        Args:
            offset: where the room begins, in bytes.
            size: how much, at least 1 byte; the file grows to hold it (posix_fallocate(3)).

        Raises:
            OSError: when awaited: ENOSPC, or ENOSYS where the system cannot.
            ValueError, io.UnsupportedOperation: as for `write_at`.
        """
        self._check(self.can_write, 0, offset, "writing")
        if size <= 0:
            raise ValueError(f"room of {size} bytes cannot be allocated")
        transfer = PlainTransfer(self, ALLOCATE, offset, WRITING)
        transfer.size = size
        return transfer.start()

    def advise(self, offset: int, size: int, advice: int) -> Awaitable[None]:
        """Tell the system how a part of the file will be used (posix_fadvise(2)).

        Args:
            offset: where the part begins, in bytes.
            size: its length; 0 means up to the end.
            advice: one of `os.POSIX_FADV_NORMAL` and so on.

        Raises:
            OSError: when awaited; ENOSYS where the system cannot be told.
        """
        self._check(True, size, offset, "")
        transfer = PlainTransfer(self, ADVISE, offset, READING)
        transfer.size = size
        transfer.address = advice
        return transfer.start()

    def fileno(self) -> int:
        """Give the descriptor's number.

        Raises:
            ValueError: the file is closed.
        """
        self._check(True, 0, 0, "")
        return self.fd

    @property
    def closed(self) -> bool:
        """Whether it was closed, or is being closed."""
        return self.fd < 0

    def statistics(self) -> FileStatistics:
        """Tell what was done with the file, and by which route."""
        return FileStatistics(
            self.hits,
            self.done_native,
            self.done_backend,
            self.in_flight,
            self.bytes_read,
            self.bytes_written,
            "" if self.filesystem is None else self.filesystem.type,
        )

    async def drain(self) -> None:
        """Wait until nothing is in flight, also of what was cancelled."""
        while self.in_flight:
            waiter = self.host.loop.create_future()
            self._idle.append(waiter)
            await waiter

    async def close(self) -> None:
        """Close the file once what is in flight has ended. Idempotent.

        Raises:
            OSError: the system tells of an error only now (close(2)); it is closed all the same.
        """
        if self.fd >= 0:
            self.fd = -1
            if not self.in_flight and self._closes_quickly():
                self._release()
            else:
                self._closing = self.host.loop.create_task(self._close())
        if self._closing is not None:
            await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.drain()
        if self._closes_quickly() or self.descriptor.leases:
            self._release()
        else:
            await CloseOperation(self.host, self.descriptor.detach(), self.name).start()

    def _closes_quickly(self) -> bool:
        """Whether closing waits for nothing: no server, and no data that has to go anywhere."""
        if not self.closefd:
            return True
        return self.filesystem is not None and not self.filesystem.distant and not self.can_write

    def _release(self) -> None:
        if self.closefd:
            self.descriptor.close()
        else:
            self.descriptor.detach()

    def __del__(self) -> None:
        if self.fd >= 0:
            warnings.warn(f"unclosed file {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.rescue()
            self.fd = -1
            self._release()

    def rescue(self) -> None:
        """Save what would be lost with a file that is dropped without having been closed."""

    def __repr__(self) -> str:
        """Name and state, for logs and warnings."""
        state = f"fd={self.fd}" if self.fd >= 0 else "closed"
        return f"<{type(self).__name__} name={self.name!r} {state}>"

    # -- for the transfers --------------------------------------------------------------------

    def choose_way(self, op: FileTransfer) -> None:
        """Count an operation in, and choose how it is done."""
        self.in_flight += 1
        self.host.in_flight += 1
        if self.alignment:
            op.way = _DIRECT
        elif self.host.measuring and self.ways is not None:
            if op.kind == _READING and not self.looks:
                op.way = _BY_THREAD  # the ring would have a worker do it, and has few
                return
            # What is quicker for an operation by itself need not be so among others.
            ways = self.ways[op.kind + (_ALONE if self.host.in_flight == 1 else 0)]
            op.way = ways.choose()
            if op.way & _MEASURED:
                op.way ^= _MEASURED
                op.ways = ways
                op.began_ns = _clock.now_ns()

    def over(self, op: FileTransfer) -> None:
        """Count an operation out."""
        self.in_flight -= 1
        self.host.in_flight -= 1
        if op.route == _NATIVE:
            self.done_native += 1
        elif op.route == _BACKEND:
            self.done_backend += 1
        if op.kind == _READING:
            self.bytes_read += op.moved
        elif op.kind == _WRITING:
            self.bytes_written += op.moved
        if op.began_ns:
            ways = op.ways
            way = _BY_THREAD if op.route == _BACKEND else op.way  # the ring may have had no room
            ways.note(way, _clock.now_ns() - op.began_ns)
        if self.turns is not None and op.kind == _WRITING:
            self.turns.pass_on()
        if self._idle and not self.in_flight:
            idle = self._idle
            self._idle = []
            for waiter in idle:
                if not waiter.done():
                    waiter.set_result(None)

    def ends(self, moved: int) -> bool:
        """Whether a direct read that stopped there has met the end of the file."""
        return self.alignment > 0 and moved % self.alignment != 0

    def _look_again(self) -> bool:
        """Whether to look into the page cache once more, though it rarely has what is read."""
        self.left_out += 1
        if self.left_out < _LOOK_EVERY:
            return False
        self.left_out = 0
        return True

    def _look_no_more(self) -> None:
        """Learn that this filesystem does not tell what is cached."""
        self.looks = False
        if self.filesystem is not None:
            self.filesystem.looks = False

    def _check(self, able: bool, size: int, offset: int, what: str) -> None:
        if self.fd < 0:
            raise ValueError("I/O operation on closed file.")
        if not able:
            raise io.UnsupportedOperation(f"not open for {what}")
        if size < 0 or offset < 0:
            raise ValueError(f"negative {'size' if size < 0 else 'offset'} is not possible")
