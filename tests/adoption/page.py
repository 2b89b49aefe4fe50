"""docs/howto/adopt.md as programs: its blocks, and what runs them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 30.0
PAGE = ROOT / "docs" / "howto" / "adopt.md"
HERE = Path(__file__).parent
SERVING = re.compile(r"http://127\.0\.0\.1:(\d+)")
NAMED_PORT = "8000"

WHO = """
import asyncio, json
from noria import lowlevel

def who():
    loop = asyncio.get_running_loop()
    return {"loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
            "engine": getattr(loop, "engine", None)}
"""
"""What the programs answer with: the loop on which they run."""


def blocks(title: str, language: str = "python") -> list[str]:
    """The blocks of one language under a heading of the page."""
    text = PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def environment(**more: str) -> dict[str, str]:
    """The variables for a program that runs elsewhere: paths are whole, noria chooses."""
    paths = [str(Path(item).absolute()) for item in os.environ["PYTHONPATH"].split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join([*paths, str(HERE)])} | more


def run(program: str, folder: Path) -> str:
    """Run a program to its end; what it has printed."""
    path = folder / "program.py"
    path.write_text(program, "utf-8")
    return run_command([sys.executable, str(path)], folder)


def run_command(command: list[str], folder: Path, **more: str) -> str:
    """Run a command to its end; what it has printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def is_ours(told: dict[str, Any]) -> bool:
    """Whether a program ran on noria."""
    return told["loop"] == "noria.api.loop.Loop" and told["engine"] is not None


class Serving:
    """A server in a process of its own, until the end of a `with`.

    Args:
        command: starts it on a port of its own, which it prints.
        folder: where it runs.
    """

    def __init__(self, command: list[str], folder: Path) -> None:
        self.log = folder / "log"
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment(PYTHONUNBUFFERED="1"),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def printed(self) -> str:
        """Everything that it has printed."""
        return self.log.read_text("utf-8")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition comes true while the process runs; what it gave."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.printed}"
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self.process.wait(0.02)
                raise AssertionError(f"it ended with {status} before: {what}\n{self.printed}")
        return found

    def ask(self, path: str = "/who") -> dict[str, Any]:
        """Ask twice over one connection; the answer, which is the same both times."""
        port = int(self.until(lambda: SERVING.search(self.printed), "it serves")[1])
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(client):
            answers = []
            for _ in range(2):
                client.request("GET", path)
                response = client.getresponse()
                assert response.status == 200, self.printed
                answers.append(json.loads(response.read()))
        for answer in answers:
            answer.pop("client", None)
        assert answers[0] == answers[1]
        return dict(answers[0])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


def serving_block(title: str, before: str, folder: Path) -> Serving:
    """Serve with the block under a heading, behind the lines that it takes for granted."""
    (block,) = blocks(title)
    assert NAMED_PORT in block
    path = folder / "program.py"
    path.write_text(WHO + before + block.replace(NAMED_PORT, "0"), "utf-8")
    return Serving([sys.executable, str(path)], folder)


def serving_command(title: str, folder: Path) -> Serving:
    """Serve with the command under a heading; the application is app.py."""
    (block,) = blocks(title, "sh")
    assert NAMED_PORT in block
    name, *words = block.replace(NAMED_PORT, "0").split()
    return Serving([sys.executable, "-m", name, *words], folder)
