"""Children that come and go leave nothing behind: zombies, descriptors, threads, objects."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
from typing import Any

import pytest

from noria.core.descriptor import open_count
from tests.conftest import DEEP
from tests.ledger import open_descriptors
from tests.loops import pattern, run
from tests.soak.test_life_cycles import count_objects

pytestmark = pytest.mark.posix

PIPE = subprocess.PIPE
ROUNDS = 30 if DEEP else 5
CHILDREN = 60 if DEEP else 20
OBJECTS_SLACK = 60
"""Objects that caches of the interpreter may add between two counts."""


def zombies() -> bool:
    """Whether this process has a child, dead or alive."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


async def talk(dice: random.Random) -> None:
    """Communicate with a child."""
    data = pattern(dice.choice([0, 10, 300_000]), dice.randrange(1000))
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    out, _ = await process.communicate(data)
    assert out == data


async def kill(dice: random.Random) -> None:
    """Kill a child at some moment."""
    process = await asyncio.create_subprocess_exec("/bin/sleep", "1000", stdin=PIPE, stdout=PIPE)
    for _ in range(dice.randrange(4)):
        await asyncio.sleep(0)
    process.kill()
    assert await process.wait() == -signal.SIGKILL


async def cancel(dice: random.Random) -> None:
    """Cancel the start of a child at some moment, or what follows."""
    processes: list[Any] = []

    async def start() -> None:
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        processes.append(process)
        await process.communicate(bytes(100_000))

    task = asyncio.ensure_future(start())
    for _ in range(dice.randrange(6)):
        await asyncio.sleep(0)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    for process in processes:
        process._transport.close()
        await process.wait()


async def fail(dice: random.Random) -> None:
    """Start what is not there."""
    with pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("/nowhere", stdin=PIPE, stdout=PIPE, stderr=PIPE)


async def settle(before: int) -> None:
    """Let the last transports of pipes go."""
    for _ in range(1000):
        if open_count() == before:
            return
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])
def test_children_come_and_go(loop: Any, pidfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    dice = random.Random(2026)
    owned = open_count()

    async def main() -> None:
        chosen = [dice.choice([talk, kill, cancel, fail]) for _ in range(CHILDREN)]
        await asyncio.gather(*(one(dice) for one in chosen))
        await settle(owned)

    run(loop, main())
    threads = {thread for thread in threading.enumerate() if not thread.name.startswith("noria-c")}
    objects, descriptors = count_objects(), open_descriptors()
    for _ in range(ROUNDS):
        run(loop, main())
        assert open_count() == owned
        assert not zombies()
    assert open_descriptors() == descriptors
    for thread in threading.enumerate():
        if thread.name.startswith("noria-c"):
            thread.join()  # it has told the loop, and ends
    assert set(threading.enumerate()) == threads
    grown = count_objects() - objects
    assert grown < OBJECTS_SLACK, f"{grown} objects more"
