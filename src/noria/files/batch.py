"""Batch: operations on files that are gathered and then begin together.

The idea is that of lio_listio(3) and io_submit(2). Operations of one batch begin in one turn of the
loop, so the engine hands them to the kernel together. An order among them is made here and not in
the kernel: the next one begins when the one before has ended, on every engine and backend alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from noria.core.buffer import lend_readable, lend_writable
from noria.files.aligned import check_aligned
from noria.files.batch_item import BatchItem, ended_well, failure_behind, follows
from noria.files.host import running_host
from noria.limits import INLINE_HITS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from noria.files.file import File
    from noria.files.host import Host
    from noria.files.operation import Pending


class Batch:
    """Gathers operations and begins them together; made by `batch()`.

    Each method that adds checks its arguments as the one of File does, pins the memory, and gives a
    BatchItem at once. Nothing begins before `submit`, `wait` or the end of the block.
    """

    def __init__(self) -> None:
        self._host: Host = None  # type: ignore[assignment]
        self._items: list[BatchItem] = []
        self._gathered: list[BatchItem] = []
        self._chain: list[BatchItem] | None = None
        self._ready: deque[BatchItem] = deque()
        self._going = False
        self._ended_count = 0
        self._lingering = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._open = False

    async def __aenter__(self) -> Batch:
        """Begin to gather.

        Raises:
            RuntimeError: it was used before.
        """
        if self._host is not None:
            raise RuntimeError("a batch is for one `async with`")
        self._host = running_host()
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Submit what is left, and wait until everything has ended.

        Failures stay with their items. If the block raised or is cancelled, what has not ended is
        cancelled, and it is waited for until no memory is in use any more.
        """
        try:
            if exc is None:
                self.submit()
                await self._everything()
        except BaseException:
            exc = exc or asyncio.CancelledError()
            raise
        finally:
            if exc is not None:
                self.cancel()
            self._open = False
            if not isinstance(exc, GeneratorExit):
                await self._nothing_in_use()

    # -- what is to be done -------------------------------------------------------------------

    def read_at(self, file: File, size: int, offset: int) -> BatchItem:
        """Add `file.read_at(size, offset)`."""
        self._check(file, file.can_read, size, offset, "reading")
        if file.alignment:
            check_aligned(file.alignment, offset, size)
        return self._add("read_at", lambda: file.read_at(size, offset))

    def readinto_at(self, file: File, buffer: Any, offset: int) -> BatchItem:
        """Add `file.readinto_at(buffer, offset)`."""
        view = lend_writable(buffer)
        self._check(file, file.can_read, 0, offset, "reading")
        if file.alignment:
            check_aligned(file.alignment, offset, len(view), view)
        return self._add("readinto_at", lambda: file.readinto_at(view, offset))

    def readv_at(self, file: File, buffers: Iterable[Any], offset: int) -> BatchItem:
        """Add `file.readv_at(buffers, offset)`."""
        views = [lend_writable(buffer) for buffer in buffers]
        self._check(file, file.can_read, 0, offset, "reading")
        _check_vector(file, views, offset)
        return self._add("readv_at", lambda: file.readv_at(views, offset))

    def write_at(self, file: File, data: Any, offset: int) -> BatchItem:
        """Add `file.write_at(data, offset)`."""
        view = lend_readable(data)
        self._check(file, file.can_write, 0, offset, "writing")
        if file.alignment:
            check_aligned(file.alignment, offset, len(view), view)
        return self._add("write_at", lambda: file.write_at(view, offset))

    def writev_at(self, file: File, buffers: Iterable[Any], offset: int) -> BatchItem:
        """Add `file.writev_at(buffers, offset)`."""
        views = [lend_readable(buffer) for buffer in buffers]
        self._check(file, file.can_write, 0, offset, "writing")
        _check_vector(file, views, offset)
        return self._add("writev_at", lambda: file.writev_at(views, offset))

    def append(self, file: File, data: Any) -> BatchItem:
        """Add `file.append(data)`."""
        view = lend_readable(data)
        self._check(file, file.can_write, 0, 0, "writing")
        if not file.appending:
            raise io.UnsupportedOperation("append: the file is not open in mode 'a'")
        return self._add("append", lambda: file.append(view))

    def sync(self, file: File) -> BatchItem:
        """Add `file.sync()`."""
        self._check(file, True, 0, 0, "")
        return self._add("sync", file.sync)

    def datasync(self, file: File) -> BatchItem:
        """Add `file.datasync()`."""
        self._check(file, True, 0, 0, "")
        return self._add("datasync", file.datasync)

    def truncate_at(self, file: File, size: int) -> BatchItem:
        """Add `file.truncate_at(size)`."""
        self._check(file, file.can_write, size, 0, "writing")
        return self._add("truncate_at", lambda: file.truncate_at(size))

    def allocate(self, file: File, offset: int, size: int) -> BatchItem:
        """Add `file.allocate(offset, size)`."""
        self._check(file, file.can_write, 0, offset, "writing")
        if size <= 0:
            raise ValueError(f"room of {size} bytes cannot be allocated")
        return self._add("allocate", lambda: file.allocate(offset, size))

    def advise(self, file: File, offset: int, size: int, advice: int) -> BatchItem:
        """Add `file.advise(offset, size, advice)`."""
        self._check(file, True, size, offset, "")
        return self._add("advise", lambda: file.advise(offset, size, advice))

    def add(self, function: Callable[..., Any], *args: Any, **keywords: Any) -> BatchItem:
        """Add a call of anything that gives an awaitable, such as `noria.fs.unlink`.

        Args:
            function: called in the loop's thread when the operation is to begin.
            args: its arguments.
            keywords: its keyword arguments.

        Raises:
            TypeError: the function cannot be called.
        """
        if not callable(function):
            raise TypeError(f"{function!r} is not callable")
        name = getattr(function, "__name__", type(function).__name__)
        return self._add(name, lambda: function(*args, **keywords))

    # -- their order --------------------------------------------------------------------------

    @contextlib.contextmanager
    def chain(self) -> Iterator[None]:
        """Have the operations that are added within run one after the other, in that order.

        When one fails or is cancelled, those behind it never begin.

        Raises:
            RuntimeError: within another chain.
        """
        if self._chain is not None:
            raise RuntimeError("chains do not nest; link() makes other orders")
        self._chain = []
        try:
            yield
        finally:
            self._chain = None

    def link(self, *items: BatchItem) -> None:
        """Have operations run one after the other, in the order given.

        One that follows several begins when all of them have ended well.

        Args:
            items: of this batch, none of them submitted.

        Raises:
            ValueError: one is of another batch or was submitted, or they would wait for each other.
        """
        for item in items:
            if item._batch is not self or item._begun or item._ended:
                raise ValueError(f"{item!r} cannot be linked: it is not waiting in this batch")
        for former, item in pairwise(items):
            if follows(former, item):
                raise ValueError(f"{former!r} and {item!r} would wait for each other")
            self._put_behind(former, item)

    # -- doing it -----------------------------------------------------------------------------

    def submit(self) -> None:
        """Begin what was gathered, all in this turn of the loop.

        Reads that the page cache answers have ended with the call; after INLINE_HITS_MAX of them
        the loop turns before the rest begins (F5).

        Raises:
            RuntimeError: the block has been left.
        """
        self._check_open()
        gathered, self._gathered = self._gathered, []
        for item in gathered:
            item._begun = True
        self._ready.extend(item for item in gathered if not item._formers and not item._ended)
        self._go()

    async def wait(
        self, count: int | None = None, timeout: float | None = None
    ) -> tuple[list[BatchItem], list[BatchItem]]:
        """Submit what was gathered, and wait until enough operations have ended.

        Args:
            count: how many of all that were added, those that ended before included; None for all.
            timeout: most seconds to wait; None for no bound. It cancels nothing.

        Returns:
            Those that have ended and those that have not, in the order they were added.

        Raises:
            ValueError: there are not so many.
            RuntimeError: the block has been left.
        """
        if count is not None and not 0 <= count <= len(self._items):
            raise ValueError(f"{count} of {len(self._items)} operations cannot be waited for")
        self.submit()
        target = len(self._items) if count is None else count
        if timeout is None:
            await self._until(target)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._until(target)
        done = [item for item in self._items if item._ended]
        return done, [item for item in self._items if not item._ended]

    def cancel(self) -> None:
        """Cancel everything that has not ended; what was not submitted never begins."""
        for item in self._items:
            item.cancel()

    def raise_failures(self) -> None:
        """Raise what failed, if anything did.

        Raises:
            ExceptionGroup: with the exception of each operation that failed.
        """
        ended = [item for item in self._items if item._ended and not item.cancelled()]
        failures = [exc for item in ended if (exc := item.exception()) is not None]
        if failures:
            raise BaseExceptionGroup(
                f"{len(failures)} of {len(self._items)} operations of a batch failed", failures
            )

    def __len__(self) -> int:
        """Tell how many operations were added."""
        return len(self._items)

    def __iter__(self) -> Iterator[BatchItem]:
        """Give the items in the order they were added."""
        return iter(list(self._items))

    # -- for the items ------------------------------------------------------------------------

    def _check(self, file: File, able: bool, size: int, offset: int, what: str) -> None:
        self._check_open()
        file._check(able, size, offset, what)
        if file.host is not self._host:
            raise ValueError(f"{file!r} belongs to another event loop than the batch")

    def _check_open(self) -> None:
        if not self._open:
            raise RuntimeError("a batch is used within its `async with` block only")

    def _add(self, name: str, call: Callable[[], Any]) -> BatchItem:
        self._check_open()
        item = BatchItem(self, name, call)
        self._items.append(item)
        self._gathered.append(item)
        if self._chain is not None:
            if self._chain:
                self._put_behind(self._chain[-1], item)
            self._chain.append(item)
        return item

    def _put_behind(self, former: BatchItem, item: BatchItem) -> None:
        if not former._ended:
            former._next.append(item)
            item._formers += 1
        elif not ended_well(former):
            self._end(item, failure_behind(former))

    def _go(self) -> None:
        """Begin what is ready, unless that is being done."""
        if not self._going:
            self._going = True
            self._begin_ready()

    def _begin_ready(self) -> None:
        """Begin what is ready, also what becomes ready when something ends at once."""
        hits = 0
        while self._ready:
            if hits >= INLINE_HITS_MAX:
                self._host.loop.call_soon(self._begin_ready)
                return
            item = self._ready.popleft()
            if not item._ended:
                try:
                    self._begin(item)
                except BaseException:  # an interrupt; the rest is begun later
                    self._going = False
                    raise
                hits += item._ended
        self._going = False

    def _begin(self, item: BatchItem) -> None:
        call = item._call
        assert call is not None
        item._call = None
        try:
            future = call()
            if not asyncio.isfuture(future):
                future = asyncio.ensure_future(future, loop=self._host.loop)
        except Exception as exc:
            self._end(item, exc)
            return
        item._future = future
        if future.done():
            self._end(item)
        else:
            future.add_done_callback(lambda _: self._end(item))

    def _end(self, item: BatchItem, failure: Exception | None = None) -> None:
        """Note that something has ended, begin what follows it or end that too."""
        ending = [(item, failure)]
        while ending:
            one, failure = ending.pop()
            if one._ended:
                continue
            one._ended = True
            one._call = None
            one._failure = failure
            self._ended_count += 1
            after, one._next = one._next, []
            well = ended_well(one)
            for follower in after:
                follower._formers -= 1
                if not well:
                    ending.append((follower, failure_behind(one)))
                elif not follower._formers and follower._begun:
                    self._ready.append(follower)
        self._tell()
        if self._ready:
            self._go()

    def _linger(self, future: Pending) -> None:
        """Know of what was cancelled and may be in the kernel's hands still."""
        self._lingering += 1
        future.operation.after = self._left

    def _left(self) -> None:
        self._lingering -= 1
        self._tell()

    def _tell(self) -> None:
        waiters = self._waiters
        if waiters:
            self._waiters = []
            for target, waiter in waiters:
                if waiter.done():
                    continue
                if self._ended_count >= target and (target >= 0 or not self._lingering):
                    waiter.set_result(None)
                else:
                    self._waiters.append((target, waiter))

    async def _until(self, target: int) -> None:
        """Wait until so many have ended; -1: until nothing that was cancelled is in use."""
        waiter = self._host.loop.create_future()
        self._waiters.append((target, waiter))
        self._tell()
        await waiter

    async def _everything(self) -> None:
        waited = False
        while self._ended_count < len(self._items):
            self.submit()
            await self._until(len(self._items))
            waited = True
        if not waited:
            await asyncio.sleep(0)  # F5

    async def _nothing_in_use(self) -> None:
        """Wait for it, however often the task is cancelled meanwhile; that is told afterwards."""
        told: asyncio.CancelledError | None = None
        while self._lingering or self._ended_count < len(self._items):
            try:
                await self._until(len(self._items))
                await self._until(-1)
            except asyncio.CancelledError as exc:
                told = exc
        if told is not None:
            raise told


def batch() -> Batch:
    """Gather operations and begin them together: `async with batch() as b:`.

    The block is left when all have ended. It raises nothing for an operation that failed: each
    item gives its result or its exception, and `raise_failures` raises them all. One that nobody
    has looked at is reported to the loop's exception handler.

    The idea is that of lio_listio(3) and io_submit(2).

    Raises:
        RuntimeError: in `async with`: no event loop is running in this thread.
    """
    return Batch()


def _check_vector(file: File, views: list[Any], offset: int) -> None:
    if file.alignment:
        for view in views:
            check_aligned(file.alignment, offset, len(view), view)
            offset += len(view)
