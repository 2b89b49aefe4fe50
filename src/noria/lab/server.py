"""A contender's server in a process of its own.

`python -m noria.lab.server --contender noria:epoll --scenario echo --core 1` prints one JSON line
when it listens, with pid, addresses and what runs, and ends when its stdin does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import threading
from typing import Any, Final

from noria.lab import adapters, scenarios
from noria.lab.client import load_native
from noria.lab.errors import LabError, UnableError, exit_code
from noria.lab.measure import pin
from noria.lab.scenarios.place import Place
from noria.lab.settings import BACKLOG_CONNECTIONS

STDIN: Final = 0
LAST_WORD_S: Final = 2.0
"""How long a loop may take to stop before the process ends without it."""


def announce(contender: str, scenario: str, place: Place, facts: dict[str, Any]) -> None:
    """Print the ready line."""
    line = {
        "ready": True,
        "pid": os.getpid(),
        "contender": contender,
        "scenario": scenario,
        "addresses": place.addresses,
        "facts": facts,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Run in a thread, so that stdin is no business of the loop under test: wait for its end."""
    while os.read(STDIN, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)
    threading.Event().wait(LAST_WORD_S)
    os._exit(0)


async def serve(contender: str, scenario: str, place: Place, facts: dict[str, Any]) -> None:
    """Serve until stdin ends."""
    stop = asyncio.Event()
    kept = await scenarios.load(scenario)(place)
    loop = asyncio.get_running_loop()
    threading.Thread(target=watch_stdin, args=(loop, stop), daemon=True).start()
    announce(contender, scenario, place, facts)
    await stop.wait()
    for one in kept:
        if isinstance(one, asyncio.Task):
            one.cancel()
        elif isinstance(one, asyncio.AbstractServer | asyncio.BaseTransport):
            one.close()


def serve_bare(contender: str, scenario: str, place: Place) -> None:
    """Serve without an event loop until stdin ends."""
    adapter = adapters.load_bare(contender)
    sockets = place.bind_datagrams() if scenario == "udp" else place.listen()
    announce(contender, scenario, place, {"loop": "none"})
    adapter.serve([one.fileno() for one in sockets], STDIN, scenario)


def serve_on_loop(contender: str, scenario: str, place: Place) -> None:
    """Serve on the contender's loop until stdin ends.

    Raises:
        LabError: the contender cannot run here.
        UnableError: its loop does not implement what the scenario takes.
    """
    adapter, option = adapters.load(contender)
    loop = adapter.new_event_loop(option)
    facts = adapter.facts(loop)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(contender, scenario, place, facts))
    except NotImplementedError as error:
        raise UnableError(
            f"its loop does not implement {scenario} (NotImplementedError)"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.server", description=__doc__)
    parser.add_argument("--contender", required=True)
    parser.add_argument("--scenario", default="echo", choices=sorted(scenarios.SCENARIOS))
    parser.add_argument("--core", type=int, default=-1, help="CPU to run on")
    parser.add_argument("--host", action="append", help="loopback address; may be repeated")
    parser.add_argument("--path", default="", help="Unix socket to listen on instead")
    parser.add_argument("--backlog", type=int, default=BACKLOG_CONNECTIONS)
    options = parser.parse_args(arguments)
    hosts = tuple(options.host or ["127.0.0.1"])
    if not all(host.startswith("127.") or host == "::1" for host in hosts):
        raise LabError(f"the lab listens on loopback addresses only, not on {', '.join(hosts)}")
    if sys.platform == "linux":
        load_native().end_with_parent()
    if options.core >= 0:
        pin(options.core)
    reason = adapters.missing(options.contender, options.scenario)
    if reason is not None:
        raise LabError(reason)
    place = Place(hosts, options.path, options.backlog, adapters.variant(options.contender))
    try:
        if adapters.is_bare(options.contender):
            serve_bare(options.contender, options.scenario, place)
        else:
            serve_on_loop(options.contender, options.scenario, place)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
