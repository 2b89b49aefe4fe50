"""What the loop does not offer yet: each method refuses by name, with asyncio's own signature."""

from __future__ import annotations

from typing import Any, NoReturn


def _missing(what: str) -> NoReturn:
    raise NotImplementedError(f"noria does not offer {what} yet")


class UnsupportedMixin:
    """Datagrams."""

    async def create_datagram_endpoint(
        self,
        protocol_factory: Any,
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: Any = None,
    ) -> Any:
        """Refuse: datagram endpoints are missing."""
        _missing("datagram endpoints (create_datagram_endpoint)")
