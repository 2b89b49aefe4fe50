"""Files to send, and the transports to send them over, for the tests of sendfile."""

from __future__ import annotations

import os
import tempfile
from asyncio import constants
from typing import TYPE_CHECKING, Any

import pytest

from noria.limits import SENDFILE_BYTES_PER_ATTEMPT_MAX
from tests.loops import pattern

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.loops import Wire

SIZE = 3 * SENDFILE_BYTES_PER_ATTEMPT_MAX + 12345
DATA = pattern(SIZE)
NATIVE = hasattr(os, "sendfile")

by_the_kernel = pytest.mark.skipif(not NATIVE, reason="this system has no sendfile")


@pytest.fixture
def file() -> Iterator[Any]:
    """A file with more in it than one attempt sends."""
    with tempfile.TemporaryFile() as made:
        made.write(DATA)
        made.seek(0)
        yield made


@pytest.fixture(params=["native", "pieces"])
def kind(request: pytest.FixtureRequest) -> str:
    """The way that the file takes."""
    if request.param == "native" and not NATIVE:
        pytest.skip("this system has no sendfile")
    return str(request.param)


def choose(transport: Any, kind: str) -> Any:
    """Have a transport take that way; a foreign one is written to in pieces, as TLS is."""
    return transport if kind == "native" else Foreign(transport)


class Foreign:
    """A transport of which nothing is known but what every transport has."""

    _sendfile_compatible = constants._SendfileMode.FALLBACK

    PASSED = (
        "abort",
        "close",
        "get_protocol",
        "get_write_buffer_limits",
        "get_write_buffer_size",
        "is_closing",
        "is_reading",
        "pause_reading",
        "resume_reading",
        "set_protocol",
        "write",
    )

    def __init__(self, transport: Any) -> None:
        for name in self.PASSED:
            setattr(self, name, getattr(transport, name))


async def receive_while(one: Wire, sending: asyncio.Future[Any], size: int) -> bytes:
    """Receive so many bytes at the other end while a file is sent."""
    data = await one.take(size)
    await sending
    return data


def start(loop: asyncio.AbstractEventLoop, *args: Any, **keywords: Any) -> asyncio.Task[int]:
    return loop.create_task(loop.sendfile(*args, **keywords))
