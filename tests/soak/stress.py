"""The fd-reuse detector: a loop that gives up on operations beside neighbours who watch files.

The neighbours are threads that open pipes, put known bytes into them, and close them again, as fast
as they can, so a descriptor number that the loop gives back is theirs at once. Before they close a
pipe they look whether it is still their own, and holds what they wrote, no more and no less. The
workers meanwhile begin operations of every kind, cancel them at a random moment and close their
sockets in a random order.

Run as a program it takes a mutant of noria with a guard removed; exit status 3 means that the
neighbours have caught it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import os
import random
import select
import socket
import sys
import threading
import warnings
from collections import deque
from typing import TYPE_CHECKING, Any

import noria

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

NEIGHBOURS = 2
PIPES_KEPT = 12
"""Pipes that a neighbour has open at a time."""

WORKERS = 8
SWITCH_SECONDS = 5e-5
"""How long a thread keeps the interpreter lock: short, so that they meet at every moment."""

SECONDS_MAX = 0.01
"""Longest time for one operation, on average."""

CAUGHT = 3


class Pipe:
    """A pipe with known content."""

    def __init__(self, content: bytes) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        self.content = content
        self.identity = os.fstat(self.reader).st_ino
        os.write(self.writer, content)

    def complaint(self) -> str:
        """What is wrong with it, or nothing; it is closed afterwards."""
        try:
            for number in (self.reader, self.writer):
                if os.fstat(number).st_ino != self.identity:
                    return f"descriptor {number} is another file"
            found = os.read(self.reader, 65536)
            if found != self.content:
                return f"descriptor {self.reader} held {found[:40]!r}, not {self.content!r}"
        except BlockingIOError:
            return f"descriptor {self.reader} was emptied by somebody else"
        except OSError as exc:
            if exc.errno != errno.EBADF:
                raise
            return f"descriptor {self.reader} or {self.writer} was closed by somebody else"
        finally:
            for number in (self.reader, self.writer):
                with contextlib.suppress(OSError):
                    os.close(number)
        return ""


class Neighbour(threading.Thread):
    """Opens and closes pipes until told to stop, and notes what others did to them."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"neighbour {number}", daemon=True)
        self.number = number
        self.ended = threading.Event()
        self.complaints: list[str] = []
        self.checked = 0

    def run(self) -> None:
        """Until told to stop."""
        kept: deque[Pipe] = deque()
        while not self.ended.is_set():
            try:
                kept.append(Pipe(b"neighbour %d pipe %d" % (self.number, self.checked)))
            except OSError as exc:
                self.complaints.append(f"a new pipe was lost: {exc}")
            while len(kept) > PIPES_KEPT:
                self._check(kept.popleft())
        while kept:
            self._check(kept.popleft())

    def _check(self, pipe: Pipe) -> None:
        complaint = pipe.complaint()
        self.checked += 1
        if complaint:
            self.complaints.append(complaint)


class Protocol(asyncio.Protocol):
    """A protocol that does nothing."""


class Stress:
    """Operations that are given up.

    Args:
        loop: where.
        seed: of every random choice.
        tolerant: go on after an error, as a mutant needs it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, tolerant: bool) -> None:
        self.loop = loop
        self.seeded = random.Random(seed)
        self.tolerant = tolerant
        self.wanted = 0
        self.done: dict[str, int] = {}
        self.failed = 0
        self.cancelled = 0
        self.kinds: list[Callable[[], Awaitable[None]]] = [
            self.connect,
            self.accept,
            self.receive,
            self.send,
            self.transport,
            self.transport,
            self.watch,
        ]

    async def run(self, count: int) -> None:
        """Begin operations until `count` of them were cancelled, several at a time."""
        self.wanted = count
        server = await self.loop.create_server(Protocol, "127.0.0.1", 0, backlog=1000)
        self.address: tuple[str, int] = server.sockets[0].getsockname()
        await asyncio.gather(*(self._work() for _ in range(WORKERS)))
        server.close()
        getattr(server, "abort_clients", server.close)()
        for _ in range(20):
            await asyncio.sleep(0.001)

    async def _work(self) -> None:
        while self.cancelled < self.wanted and self.failed < self.wanted:
            kind = self.seeded.choice(self.kinds)
            try:
                await kind()
            except Exception:
                if not self.tolerant:
                    raise
                self.failed += 1
            name = getattr(kind, "__name__", "")
            self.done[name] = self.done.get(name, 0) + 1

    async def connect(self) -> None:
        """A connection that is given up while it is made, or just after."""
        task = asyncio.ensure_future(self.loop.create_connection(Protocol, *self.address))
        result = await self._give_up(task)
        if result is not None:
            self._end(result[0])

    async def accept(self) -> None:
        """An accept, while a client comes or does not."""
        with socket.socket() as listener, socket.socket() as client:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            client.setblocking(False)
            task = asyncio.ensure_future(self.loop.sock_accept(listener))
            if self.seeded.random() < 0.5:
                with contextlib.suppress(BlockingIOError):
                    client.connect(listener.getsockname())
            if self.seeded.random() < 0.3:
                listener.close()
            result = await self._give_up(task)
            if result is not None:
                result[0].close()

    async def receive(self) -> None:
        """A receive, with the socket closed before or after it is cancelled."""
        with self._pair() as (left, right):
            task = asyncio.ensure_future(self.loop.sock_recv(left, 100))
            await self._pause()
            if self.seeded.random() < 0.3:
                right.send(b"of the loop")
            if self.seeded.random() < 0.5:
                left.close()
            await self._give_up(task)

    async def send(self) -> None:
        """A send that is larger than the socket's buffer."""
        with self._pair() as (left, right):
            task = asyncio.ensure_future(self.loop.sock_sendall(left, bytes(400_000)))
            await self._pause()
            if self.seeded.random() < 0.5:
                right.close()
            if self.seeded.random() < 0.5:
                left.close()
            await self._give_up(task)

    async def transport(self) -> None:
        """A transport that is closed or aborted with data in every place."""
        left, right = socket.socketpair()
        right.setblocking(False)
        task = asyncio.ensure_future(self.loop.create_connection(Protocol, sock=left))
        result = await self._give_up(task, self.seeded.random() < 0.2)
        if result is not None:
            transport = result[0]
            transport.write(bytes(self.seeded.choice([0, 10, 500_000])))
            with contextlib.suppress(OSError):
                right.send(b"of the loop" * self.seeded.choice([1, 1000]))
            if self.seeded.random() < 0.3:
                transport.pause_reading()
            await self._pause()
            if self.seeded.random() < 0.2:
                left.close()  # its user still has the socket object
            transport.write(b"of the loop")
            self._end(transport)
            if self.seeded.random() < 0.5:
                transport.write(b"too late")
        else:
            left.close()  # perhaps the task had not even begun
        right.close()
        await self._pause()

    async def watch(self) -> None:
        """A watch, removed before or after the descriptor is closed, or by a callback."""
        with self._pair() as (left, right):
            number = left.fileno()
            self.loop.add_reader(number, int)
            if self.seeded.random() < 0.5:
                self.loop.add_writer(number, int)
            right.send(b"x")
            await self._pause()
            self.loop.remove_writer(number)
            if self.seeded.random() < 0.5:
                self.loop.remove_reader(number)
                left.close()
            else:
                left.close()
                self.loop.remove_reader(number)

    @contextlib.contextmanager
    def _pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        left, right = socket.socketpair()
        left.setblocking(False)
        right.setblocking(False)
        try:
            yield left, right
        finally:
            left.close()
            right.close()

    async def _pause(self) -> None:
        for _ in range(self.seeded.randrange(4)):
            await asyncio.sleep(0)

    async def _give_up(self, task: asyncio.Future[Any], cancel: bool = True) -> Any:
        """Cancel a task some turns later; its result if it had one by then."""
        if cancel:
            await self._pause()
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            self.cancelled += 1
        except OSError:
            pass
        return None

    def _end(self, transport: Any) -> None:
        self.seeded.choice([transport.close, transport.abort])()
        if self.seeded.random() < 0.5:
            transport.abort()


def run_stress(
    loop: asyncio.AbstractEventLoop, count: int, *, seed: int = 0, tolerant: bool = False
) -> tuple[Stress, list[str], int]:
    """Let the loop give up operations beside its neighbours.

    Returns:
        What was done, what the neighbours complained of, and how many pipes they looked into.
    """
    stress = Stress(loop, seed, tolerant)
    neighbours = [Neighbour(number) for number in range(NEIGHBOURS)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    for neighbour in neighbours:
        neighbour.start()
    try:
        loop.run_until_complete(asyncio.wait_for(stress.run(count), SECONDS_MAX * count))
    except Exception:
        if not tolerant:
            raise
        stress.failed += 1
    finally:
        sys.setswitchinterval(interval)
        for neighbour in neighbours:
            neighbour.ended.set()
        for neighbour in neighbours:
            neighbour.join(30)
    complaints = [text for neighbour in neighbours for text in neighbour.complaints]
    return stress, complaints, sum(neighbour.checked for neighbour in neighbours)


# -- mutants ------------------------------------------------------------------------------------


def close_twice(loop: asyncio.AbstractEventLoop) -> None:
    """A Descriptor that closes its number once more, a turn later."""
    from noria.core.descriptor import Descriptor

    original = Descriptor._close_now

    def close_now(self: Descriptor) -> None:
        number = self.fd
        original(self)
        loop.call_soon(close_quietly, number)

    Descriptor._close_now = close_now  # type: ignore[method-assign]


def close_quietly(number: int) -> None:
    """Close a number that may be anybody's."""
    with contextlib.suppress(OSError):
        os.close(number)


def use_late(loop: asyncio.AbstractEventLoop, use: Callable[[int], object]) -> None:
    """An engine that uses a number once more, a turn after it was told to forget it."""
    from noria.engines.registrations import Registrations

    original = Registrations.forget

    def forget(self: Registrations, fd: int) -> None:
        original(self, fd)
        loop.call_soon(use, fd)

    Registrations.forget = forget  # type: ignore[method-assign]


def read_late(loop: asyncio.AbstractEventLoop) -> None:
    """An engine that receives from a number that it should have forgotten."""

    def read(number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if select.select([number], [], [], 0)[0]:
                os.read(number, 10)

    use_late(loop, read)


def write_late(loop: asyncio.AbstractEventLoop) -> None:
    """An engine that sends to a number that it should have forgotten."""

    def write(number: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            if select.select([], [number], [], 0)[1]:
                os.write(number, b"of the loop")

    use_late(loop, write)


MUTANTS = {"close-twice": close_twice, "read-late": read_late, "write-late": write_late}


def main() -> None:
    """Run a mutant; exit with CAUGHT if the neighbours noticed it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mutant", choices=["none", *MUTANTS])
    parser.add_argument("--engine")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    loop = noria.new_event_loop(arguments.engine)
    loop.set_exception_handler(lambda _, __: None)
    if arguments.mutant != "none":
        MUTANTS[arguments.mutant](loop)
    stress, complaints, checked = run_stress(loop, arguments.count, tolerant=True)
    print(stress.done, "cancelled:", stress.cancelled, "failed:", stress.failed, "pipes:", checked)
    print("\n".join(complaints[:10]), flush=True)
    # The mutant has closed what is not its own: no more of this interpreter than necessary.
    os._exit(CAUGHT if complaints else 0)


if __name__ == "__main__":
    main()
