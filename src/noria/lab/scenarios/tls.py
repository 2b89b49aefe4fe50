"""The plain echo over TLS 1.3, on the ssl module's contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noria.lab import openssl
from noria.lab.scenarios import echo

if TYPE_CHECKING:
    from noria.lab.scenarios.place import Place


VARIANTS: Final = echo.VARIANTS


async def start(place: Place) -> list[object]:
    """Listen everywhere in `place`; return the servers. Raises LabError without OpenSSL."""
    return await echo.listen(place, openssl.server_context())
