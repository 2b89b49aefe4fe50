"""What the loop does not offer yet: each method refuses by name, with asyncio's own signature."""

from __future__ import annotations

from typing import Any, NoReturn


def _missing(what: str) -> NoReturn:
    raise NotImplementedError(f"noria does not offer {what} yet")


class UnsupportedMixin:
    """Datagrams and TLS upgrades."""

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

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Refuse: TLS is missing."""
        _missing("TLS (start_tls)")
