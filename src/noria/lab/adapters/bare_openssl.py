"""A bare epoll echo server in C on OpenSSL: what any server could reach at best with TLS 1.3."""

from __future__ import annotations

from typing import Final

from noria.lab import openssl
from noria.lab.openssl import missing

__all__ = ["SCENARIOS", "missing", "serve"]

SCENARIOS: Final = frozenset({"tls"})


def serve(sockets: list[int], stop_fd: int, scenario: str) -> None:
    """Echo until `stop_fd` is readable or hung up. Raises LabError without OpenSSL."""
    assert scenario in SCENARIOS
    openssl.load().serve_tls(sockets, stop_fd)
