"""Loop: the event loop, assembled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noria.api.connect import ConnectMixin
from noria.api.datagrams import DatagramsMixin
from noria.api.listen import ListenMixin
from noria.api.pipes import PipesMixin
from noria.api.processes import ProcessesMixin
from noria.api.run import RunMixin
from noria.api.sendfile import SendfileMixin
from noria.loop.core import LoopCore

if TYPE_CHECKING:
    from noria.core.clock import Clock
    from noria.engines.interface import Engine


class Loop(  # type: ignore[misc] # noria's own handles, and wider types of parameters
    ConnectMixin,
    ListenMixin,
    SendfileMixin,
    PipesMixin,
    ProcessesMixin,
    DatagramsMixin,
    RunMixin,
    LoopCore,
    asyncio.AbstractEventLoop,
):
    """asyncio.AbstractEventLoop on one engine.

    Programs make it with `noria.new_event_loop`, or leave that to `noria.run`.

    Args:
        engine: gets operations done; owned by the loop from now on.
        clock: source of time; None for the system's monotonic clock.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        LoopCore.__init__(self, engine, clock)
        self._init_watches()
        self._init_servers()
        self._init_run()
