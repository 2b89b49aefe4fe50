"""Inner: a protocol of noria's own that a transport hands its data to in one C call.

A layer between a transport and the user's protocol is one. It is a transport to the latter, and a
complete asyncio protocol besides, so it works over transports that know nothing of this.
"""

from __future__ import annotations

from noria.transports.base import BaseTransport


class Inner(BaseTransport):
    """A layer over a transport; calls the user's code, in the right context, by itself."""

    __slots__ = ()

    def _take(self, data: bytes) -> None:
        """Take data that has come; raises SystemExit and KeyboardInterrupt only (T4, L4)."""
        raise NotImplementedError
