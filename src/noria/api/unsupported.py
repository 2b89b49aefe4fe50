"""What the loop does not offer yet: each method refuses by name, with asyncio's own signature."""

from __future__ import annotations

from typing import Any, NoReturn


def _missing(what: str) -> NoReturn:
    raise NotImplementedError(f"noria does not offer {what} yet")


class UnsupportedMixin:
    """Datagrams, pipes, processes and TLS upgrades."""

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

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Refuse: pipes are missing."""
        _missing("pipes (connect_read_pipe)")

    async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Refuse: pipes are missing."""
        _missing("pipes (connect_write_pipe)")

    async def subprocess_shell(
        self,
        protocol_factory: Any,
        cmd: Any,
        *,
        stdin: Any = -1,
        stdout: Any = -1,
        stderr: Any = -1,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: Any = None,
        errors: Any = None,
        text: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Refuse: processes are missing."""
        _missing("subprocesses (subprocess_shell)")

    async def subprocess_exec(
        self,
        protocol_factory: Any,
        program: Any,
        *args: Any,
        stdin: Any = -1,
        stdout: Any = -1,
        stderr: Any = -1,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: Any = None,
        errors: Any = None,
        text: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Refuse: processes are missing."""
        _missing("subprocesses (subprocess_exec)")

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
