"""The command `noria`: its options, and who answers each subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import noria
from noria.cli import doctor, lab

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130
"""Exit status of a program ended by Ctrl-C, as shells count: 128 and SIGINT."""


def parser() -> argparse.ArgumentParser:
    """Build the parser; each subcommand adds itself and sets `run`, a function of the namespace."""
    found = argparse.ArgumentParser(
        prog="noria", description="An asyncio event loop that serves many clients from one thread."
    )
    found.add_argument("--version", action="version", version=f"noria {noria.__version__}")
    subparsers = found.add_subparsers(title="commands", metavar="command", required=True)
    doctor.register(subparsers)
    lab.register(subparsers)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status.

    Args:
        arguments: those of the command line, by default the program's own.
    """
    namespace = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = namespace.run
    try:
        status = run(namespace)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left; the interpreter's last flush must not fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status
