"""GuestHost: an engine of noria's own serves the files of somebody else's event loop.

The engine is watched by the loop, as any descriptor is with `add_reader`, or by a thread where the
loop has no `add_reader`, and polled without waiting when it has something. It ends with the loop:
`asyncio.run` shuts asynchronous generators down before it closes the loop, and one of them is the
host's. Where a loop is closed without that, its engine is closed when another loop asks for one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from noria.errors import EngineUnavailableError
from noria.files.host import Host
from noria.guest.companion import Companion
from noria.lowlevel import AUTOMATIC_ENGINE_NAMES, Completions, Engine, choose, explain

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_guests: dict[int, GuestHost] = {}
"""The hosts by the identity of their loops, which they keep alive until they are closed."""


class GuestHost(Host):
    """What gets the operations of files done on a loop that is not noria's.

    Args:
        loop: the running event loop.
        engine: an engine that nobody else uses; closed with the host.
        fd: what tells that the engine has something.

    Attributes:
        wakes_by: "add_reader", or "thread" on a loop that watches no descriptors, such as asyncio's
            ProactorEventLoop on Windows.
    """

    def __init__(self, loop: Any, engine: Engine, fd: int) -> None:
        Host.__init__(self, loop, engine)
        self._fd = fd
        self._batch = Completions()
        self._flushing = False
        self._polling = False
        self._closed = False
        self._companion: Companion | None = None
        self.wakes_by = "add_reader"
        try:
            loop.add_reader(fd, self._turn)
        except NotImplementedError:
            self._companion = Companion(loop, fd, self._turn)
            self.wakes_by = "thread"
        self._ending = self._wait_for_the_end()
        # It runs up to its first `yield` at once, and is known to the loop from then on.
        with contextlib.suppress(StopIteration):
            self._ending.__anext__().send(None)

    def submitted(self) -> None:
        """Have the engine hand over what it was given, with everything else of this turn."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if not self._closed:
            self.engine.flush()

    def _turn(self) -> None:
        if self._polling or self._closed:
            return
        self._polling = True
        try:
            self._batch.deliver_all()  # what an interrupt left over
            if self.engine.poll(0, self._batch):
                self._batch.deliver_all()
        finally:
            self._polling = False

    async def _wait_for_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        """End the engine: it waits for what runs, and cancels the rest. Idempotent."""
        if self._closed:
            return
        self._closed = True
        _guests.pop(id(self.loop), None)
        if self._companion is not None:
            self._companion.stop()
        elif not self.loop.is_closed():
            self.loop.remove_reader(self._fd)
        self.engine.close(self._batch)
        telling = not self.loop.is_closed()
        self.end(telling)
        if telling:
            self._batch.deliver_all()
        else:
            self._batch.discard_all()

    def __repr__(self) -> str:
        """Loop, engine and how the loop is woken."""
        kind = f"{type(self.loop).__module__}.{type(self.loop).__qualname__}"
        state = "closed" if self._closed else f"wakes by {self.wakes_by}"
        return f"<GuestHost on {kind}: {self.engine.name} {state}>"


def guest_of(loop: Any) -> GuestHost:
    """Give the host of a loop that is not noria's, made on first use.

    Args:
        loop: the running event loop.

    Raises:
        EngineUnavailableError: no engine can be watched from outside, or the disk backend that
            NORIA_DISK asks for cannot work here.
    """
    found = _guests.get(id(loop))
    if found is not None and found.loop is loop:
        return found
    for other in list(_guests.values()):
        if other.loop.is_closed():
            other.close()
    made = _make(loop)
    _guests[id(loop)] = made
    return made


def _make(loop: Any) -> GuestHost:
    asked = choose()
    names = [asked.name]
    if asked.automatic:
        names += [name for name in AUTOMATIC_ENGINE_NAMES if name != asked.name]
    probes = dict(explain())
    for name in names:
        if not probes[name].available:
            continue
        engine = choose(name).engine_class()
        try:
            engine.use_disk()
            fd = engine.attach()
            if fd >= 0:
                return GuestHost(loop, engine, fd)
        except BaseException:
            engine.close(Completions())
            raise
        engine.close(Completions())
    raise EngineUnavailableError(
        f"no engine here can be watched by another loop ({', '.join(names)}), so files need "
        "noria's own loop: noria.run"
    )
