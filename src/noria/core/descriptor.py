"""Descriptor: the single owner of an open file.

Exactly one Descriptor owns a descriptor number. Operations lease it; `close` waits for the last
lease, so a number can never return to the kernel while something may still use it (D1, D2). For a
socket that came from outside the owner is the socket object itself, and closing goes through it,
never by number: whoever else holds that object sees it closed, and nobody closes a stranger's file
(D3). If its user calls `close` on the object, the number stays open until the Descriptor is closed
too.
The generation tells one life of the owner from the next in logs and tests.
"""

from __future__ import annotations

import itertools
import socket as socket_module
from typing import TYPE_CHECKING, Any

from noria.native import calls

if TYPE_CHECKING:
    from collections.abc import Callable

_generations = itertools.count(1)
_open_count = 0  # typed in the .pxd


class Descriptor:
    """Owner of one open file.

    Attributes:
        fd: the number, -1 once closed.
        leases: operations that use it now.
        closing: `close` was called; no new lease is given.
        generation: number of this owner, never used twice in a process.
    """

    __slots__ = ("_on_closed", "_sock", "closing", "fd", "generation", "leases")

    def __init__(self, fd: int, sock: socket_module.socket | None = None) -> None:
        """Own `fd`, or the socket `sock` whose number `fd` is.

        Raises:
            ValueError: the number is negative (the file is closed).
        """
        global _open_count
        if fd < 0:
            raise ValueError(f"a descriptor needs an open file, not {fd}")
        self.fd = fd
        self._sock = sock
        if sock is not None:
            _hold(sock)
        self.leases = 0
        self.closing = False
        self.generation = next(_generations)
        self._on_closed: Callable[[], object] | None = None
        _open_count += 1

    @property
    def closed(self) -> bool:
        """True once the number has been given back to the kernel."""
        return self.fd < 0

    @property
    def sock(self) -> socket_module.socket:
        """The socket object; made on first use, and then it owns the number.

        Raises:
            OSError: the descriptor is closed (EBADF) or is no socket (ENOTSOCK).
        """
        if self._sock is None:
            if self.fd < 0:
                raise OSError(9, "the descriptor is closed")
            self._sock = socket_module.socket(fileno=self.fd)
            _hold(self._sock)
        return self._sock

    def lease(self) -> None:
        """Use the descriptor for one operation; `release` ends it.

        Raises:
            OSError: it is closed or closing (EBADF).
        """
        if self.closing:
            raise OSError(9, f"descriptor {self.fd} (generation {self.generation}) is closing")
        self.leases += 1

    def release(self) -> None:
        """End one lease; the last one completes a deferred close."""
        assert self.leases > 0, "a lease was returned twice"
        self.leases -= 1
        if self.closing and self.leases == 0 and self.fd >= 0:
            self._close_now()

    def close(self, on_closed: Callable[[], object] | None = None) -> bool:
        """Close the file, now or when the last lease ends. Idempotent.

        Args:
            on_closed: called with no arguments once the number is free (at once if it is).

        Returns:
            True if the number is free already, False if the close is deferred.
        """
        if self.fd < 0:
            if on_closed is not None:
                on_closed()
            return True
        if on_closed is not None:
            self._on_closed = on_closed
        self.closing = True
        if self.leases:
            return False
        self._close_now()
        return True

    def detach(self) -> int:
        """Give the number away without closing it; for passing ownership on.

        Raises:
            RuntimeError: it is leased, so something still uses it.
        """
        global _open_count
        if self.leases:
            raise RuntimeError(f"descriptor {self.fd} cannot be detached: it is in use")
        fd = self.fd
        if fd >= 0:
            self.closing = True
            self.fd = -1
            if self._sock is not None:
                self._sock.detach()  # a socket object that still owned the number would close it
                _let_go(self._sock)
                self._sock = None
            _open_count -= 1
        return fd

    def abandon(self) -> None:
        """Leave the file to its socket object, which closes it and warns when nobody has it."""
        global _open_count
        if self.fd >= 0 and not self.closing:
            assert self._sock is not None, "nobody would close the file"
            self.closing = True
            self.fd = -1
            self._sock = None
            _open_count -= 1

    def _close_now(self) -> None:
        global _open_count
        fd = self.fd
        sock = self._sock
        self.fd = -1
        self._sock = None
        _open_count -= 1
        try:
            if sock is not None:
                sock.close()
                _let_go(sock)
            else:
                calls.close_number(fd)
        finally:
            on_closed = self._on_closed
            self._on_closed = None
            if on_closed is not None:
                on_closed()

    def __repr__(self) -> str:
        """Number, generation and state."""
        state = "closed" if self.fd < 0 else "closing" if self.closing else "open"
        return (
            f"<Descriptor fd={self.fd} generation={self.generation} leases={self.leases} {state}>"
        )


def _hold(sock: Any) -> None:
    """Put off a socket's `close`, by the count that serves `socket.makefile`."""
    if isinstance(sock, socket_module.socket):
        sock._io_refs += 1  # type: ignore[attr-defined]


def _let_go(sock: Any) -> None:
    """Undo `_hold`: the socket is closed now if it was told to, and no file of it is left."""
    if isinstance(sock, socket_module.socket):
        sock._decref_socketios()  # type: ignore[attr-defined]


def open_count() -> int:
    """How many descriptors noria owns in this process; zero after everything is closed."""
    return _open_count


def number_of(file: Any) -> int:
    """Give the descriptor number of an int or of an object with `fileno()`, as `selectors` does.

    Raises:
        ValueError: it is neither, or the number is negative.
    """
    if isinstance(file, int):
        number = file
    else:
        try:
            number = int(file.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {file!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number
