"""A worker class for gunicorn: `gunicorn -k noria.compat.gunicorn.Worker app:app`.

It needs the packages gunicorn and uvicorn-worker.
"""

from __future__ import annotations

from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    """uvicorn's worker, serving ASGI applications on noria's loop.

    The engine is the one that `noria.new_event_loop` chooses; NORIA_ENGINE names another.
    """

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        **UvicornWorker.CONFIG_KWARGS,
        "loop": "noria:new_event_loop",
    }
