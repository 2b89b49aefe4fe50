"""A small ASGI application that tells who runs it; test_uvicorn.py serves it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from noria import lowlevel


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one scope: the life of the program, or one request."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["path"] == "/who":
        await answer(send, json.dumps(who(scope)).encode())
    elif scope["path"] == "/echo":
        await echo(receive, send)
    else:
        await answer(send, b"nothing here", status=404)


async def live(receive: Any, send: Any) -> None:
    """Say yes to the start and the end, and print both."""
    for event in ("startup", "shutdown"):
        message = await receive()
        assert message["type"] == f"lifespan.{event}"
        print(event, flush=True)
        await send({"type": f"lifespan.{event}.complete"})


def who(scope: dict[str, Any]) -> dict[str, Any]:
    """The running loop, and the client as the server sees it."""
    loop = asyncio.get_running_loop()
    return {
        "loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
        "engine": getattr(loop, "engine", None),
        "compiled": lowlevel.COMPILED,
        "client": scope["client"],
    }


async def echo(receive: Any, send: Any) -> None:
    """Send every piece of the body back as it comes; the answer begins with the first of them."""
    begun = False
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
        if not begun:
            begun = True
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    """Answer with a whole body."""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
