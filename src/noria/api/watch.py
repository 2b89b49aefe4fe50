"""add_reader, add_writer and their removal: callbacks on descriptors that the user owns.

The descriptors are borrowed and watched level-triggered on every engine (L6): the callback is
scheduled at every turn of the loop for as long as there is something to read or room to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from noria.core.codes import WAIT_READABLE, WAIT_WRITABLE
from noria.core.descriptor import number_of
from noria.errors import from_result
from noria.loop.core import LoopCore
from noria.loop.waits import WatchOperation

if TYPE_CHECKING:
    from collections.abc import Callable


class WatchMixin(LoopCore):
    """Readers and writers of a loop."""

    def _init_watches(self) -> None:
        self._readers: dict[int, WatchOperation] = {}
        self._writers: dict[int, WatchOperation] = {}

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` whenever the descriptor is readable; replaces an earlier reader.

        Args:
            fd: a descriptor number or an object with `fileno()`.
            callback: what to call, in a copy of the current context.
            args: its arguments.

        Raises:
            ValueError: `fd` is neither, or negative.
            RuntimeError: the loop is closed, or a transport uses the descriptor.
            OSError: it cannot be watched (EPERM: a regular file; EBADF: closed; on Windows
                ENOTSOCK: no open socket, EMFILE: one more than select takes).
        """
        self._add_watch(self._readers, WAIT_READABLE, fd, callback, args)

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` whenever the descriptor is writable; see `add_reader`."""
        self._add_watch(self._writers, WAIT_WRITABLE, fd, callback, args)

    def remove_reader(self, fd: Any) -> bool:
        """Stop watching for readability; True if there was a reader.

        An object that has no number any more, such as a closed socket, is found by itself: it has
        to be the very object that was given to `add_reader` or `add_writer`.

        Raises:
            ValueError: `fd` is no descriptor number and has no `fileno()`, or it is closed and
                not watched.
            RuntimeError: a transport uses the descriptor.
        """
        return self._remove_watch(self._readers, fd)

    def remove_writer(self, fd: Any) -> bool:
        """Stop watching for writability; True if there was a writer; see `remove_reader`."""
        return self._remove_watch(self._writers, fd)

    def _add_watch(
        self,
        watches: dict[int, WatchOperation],
        code: int,
        file: Any,
        callback: Callable[..., object],
        args: tuple[Any, ...],
    ) -> None:
        self._check_closed()
        if self._debug:
            self._check_thread()
            self._check_callback(callback, "add_reader" if code == WAIT_READABLE else "add_writer")
        fd = self._ensure_fd_no_transport(file)
        old = watches.pop(fd, None)
        if old is not None:
            old.handle.cancel()
            self.cancel_operation(old)
        handle = self._make_handle(callback, args)
        op = WatchOperation(code, fd, file, self, handle)
        if self.submit(op):
            raise from_result(op.result, "watch", fd)
        watches[fd] = op

    def _remove_watch(self, watches: dict[int, WatchOperation], file: Any) -> bool:
        if self._closed:
            return False
        try:
            fd = self._ensure_fd_no_transport(file)
        except ValueError:
            fd = self._number_watched_as(file)
            if fd < 0:
                raise
        op = watches.pop(fd, None)
        if op is None:
            return False
        op.handle.cancel()
        self.cancel_operation(op)
        return True

    def _number_watched_as(self, file: Any) -> int:
        """Give the number that an object had when its watch was added; -1 if none was."""
        for watches in (self._readers, self._writers):
            for fd, op in watches.items():
                if op.file is file:
                    return fd
        return -1

    def _ensure_fd_no_transport(self, file: Any) -> int:
        fd = number_of(file)
        if self._engine.owned(fd):
            raise RuntimeError(f"File descriptor {file!r} is used by transport of {self!r}")
        return fd
