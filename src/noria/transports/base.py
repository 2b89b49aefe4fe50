# cython: boundscheck=False, wraparound=False
"""BaseTransport: a protocol, and what every transport does for it.

It is told of events in the transport's own context (L5), and what it raises, or what happens to the
descriptor, ends this transport only (T4).
"""

from __future__ import annotations

from asyncio.log import logger
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from noria.loop.core import LoopCore
    from noria.transports.flow import WriteFlow


class BaseTransport:
    """A loop, a protocol and its context. Those who derive from it set all three."""

    __slots__ = ("__weakref__", "_context", "_loop", "_protocol")

    if TYPE_CHECKING:
        _context: Any
        _loop: LoopCore
        _protocol: Any

    # -- the protocol -----------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the current protocol; None after the connection is lost."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    # -- flow control -----------------------------------------------------------------------

    def _pause_protocol(self, flow: WriteFlow) -> None:
        flow.paused = True
        self._call_flow_method("pause_writing")

    def _resume_protocol(self, flow: WriteFlow) -> None:
        flow.paused = False
        self._call_flow_method("resume_writing")

    def _call_flow_method(self, name: str) -> None:
        # In the caller's context, as asyncio does: pausing happens inside the caller's write().
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._report(exc, f"protocol.{name}() failed")

    # -- errors -----------------------------------------------------------------------------

    def _report(self, exc: BaseException, message: str) -> None:
        """Tell the loop's exception handler."""
        self._loop.call_exception_handler(
            {
                "message": message,
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """End at once, and report it unless connections end that way."""
        if not self._is_ordinary(exc):
            self._report(exc, message)
        elif self._loop._debug:
            logger.debug("%r: %s", self, message, exc_info=exc)
        self._force_close(exc)

    def _user_error(self, exc: BaseException, message: str) -> None:
        """End because of what the protocol has raised."""
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            raise exc
        self._fatal_error(exc, message)

    def _is_ordinary(self, exc: BaseException) -> bool:
        """Whether it is a way in which such a transport ends, and nothing to report."""
        return isinstance(exc, OSError)

    def _force_close(self, exc: BaseException | None) -> None:
        """End without further ado; the protocol is told from the loop, once (T5)."""
        raise NotImplementedError
