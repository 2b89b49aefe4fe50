"""uvicorn with httptools, and the smallest application: what a web server costs on a loop."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any, Final

from noria.lab.errors import LabError

if TYPE_CHECKING:
    import socket

    from noria.lab.scenarios.place import Place

BODY: Final = b"Hello, world"
START_TIMEOUT_S: Final = 10.0

_START: Final = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))],
}
_BODY: Final = {"type": "http.response.body", "body": BODY}


async def hello(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer every request alike, as an application of ASGI."""
    await send(_START)
    await send(_BODY)


def load_uvicorn() -> Any:
    """Import uvicorn, where httptools is there too. Raises LabError that says what to install."""
    try:
        importlib.import_module("httptools")
        return importlib.import_module("uvicorn")
    except ImportError as error:
        raise LabError(
            f"HTTP is measured with uvicorn and httptools: pip install noria[lab] ({error})"
        ) from None


async def start(place: Place) -> list[object]:
    """Serve everywhere in `place`; return uvicorn's task. Raises LabError without uvicorn."""
    uvicorn = load_uvicorn()
    config = uvicorn.Config(
        hello,
        http="httptools",
        ws="none",
        lifespan="off",
        loop="none",
        log_level="critical",
        access_log=False,
        date_header=False,  # so that every response is the same
    )
    server = uvicorn.Server(config)
    started = asyncio.Event()
    startup = server.startup

    async def start_up(sockets: list[socket.socket] | None = None) -> None:
        await startup(sockets=sockets)
        started.set()

    server.startup = start_up
    loop = asyncio.get_running_loop()
    task = loop.create_task(server.serve(sockets=place.listen()))
    waiting = loop.create_task(started.wait())
    await asyncio.wait(
        {task, waiting}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED
    )
    if not started.is_set():
        raise LabError("uvicorn did not start")
    return [task]
