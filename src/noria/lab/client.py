"""The load generator's process: JSON commands on stdin, one JSON line for each on stdout.

    {"op": "open", "name": "a", "targets": [["127.0.0.1", 8000]], "connections": 50,
     "transport": "plain" | "datagrams" | "tls" | "http" | "train-in:32" | "train-out:32"}
    {"op": "connect" | "echo" | "churn" | "idle" | "disconnect" | "close", "name": "a", ...}

Further keys of a command are the arguments of that method of `_client.Client`. The answer is
`{"ok": true, "result": {...}}`, where samples have become percentiles and failures have names, or
`{"ok": false, "error": "..."}`. The process ends when stdin does.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import json
import sys
from typing import Any

from noria.lab import exchange
from noria.lab.errors import LabError, exit_code
from noria.lab.measure import percentiles_ns, pin

PHASES = frozenset({"connect", "echo", "churn", "idle", "disconnect"})


def load_native() -> Any:
    """Import the native module. Raises LabError that says how to get it."""
    try:
        from noria.lab import _client  # noqa: PLC0415 - absent where it was not built
    except ImportError as error:
        raise LabError(
            f"the native load generator is missing ({error}); it is built on Linux when noria is "
            "installed on a machine with a C compiler"
        ) from error
    return _client


def failure_names(failures: dict[int, int], native: Any) -> dict[str, int]:
    """Name the keys of a phase's failures: ECONNRESET and so on, or the generator's own words."""
    own = {
        native.FAILURE_MISMATCH: "wrong bytes",
        native.FAILURE_EOF: "unexpected end",
        native.FAILURE_SURPLUS: "bytes nobody asked for",
        native.FAILURE_TIMEOUT: "no answer in time",
    }
    return {
        own.get(code) or errno.errorcode.get(code, f"errno {code}"): count
        for code, count in failures.items()
    }


def transport_options(name: str, targets: list[Any]) -> dict[str, Any]:
    """Make the load generator's options for a transport. Raises LabError, ValueError."""
    if name == "plain":
        return {}
    if name == "datagrams":
        return {"datagrams": True}
    if name == "tls":
        importlib.import_module("noria.lab.openssl").load()
        return {"tls": True}
    kind, _, count = name.partition(":")
    if kind in {"train-in", "train-out"}:
        return {"datagrams": True, "train": int(count), "train_back": kind == "train-out"}
    if name == "http":
        return {"request": exchange.REQUEST, "response": exchange.learn(targets[0])}
    raise ValueError(f"unknown transport {name!r}")


class Commands:
    """Runs commands on clients that it keeps by name."""

    __slots__ = ("_clients", "_native", "_progress_fd")

    def __init__(self, native: Any, progress_fd: int = -1) -> None:
        self._native = native
        self._progress_fd = progress_fd
        self._clients: dict[str, Any] = {}

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run one command; its result. Raises KeyError, TypeError, ValueError, OSError."""
        operation = command.pop("op")
        name = command.pop("name")
        if operation == "open":
            return self._open(name, command)
        client = self._clients[name]
        if operation == "close":
            del self._clients[name]
            client.close()
            return {}
        if operation not in PHASES:
            raise ValueError(f"unknown command {operation!r}")
        return self._summary(getattr(client, operation)(**command))

    def _open(self, name: str, command: dict[str, Any]) -> dict[str, Any]:
        if name in self._clients:
            raise ValueError(f"there is a client {name!r} already")
        targets = [
            target if isinstance(target, str) else (target[0], target[1])
            for target in command.pop("targets")
        ]
        connections = command.pop("connections")
        command |= transport_options(command.pop("transport", "plain"), targets)
        self._clients[name] = self._native.Client(
            targets, connections, progress_fd=self._progress_fd, **command
        )
        return {}

    def _summary(self, result: dict[str, Any]) -> dict[str, Any]:
        result["latency"] = percentiles_ns(result.pop("samples_ns"))
        result["failures"] = failure_names(result["failures"], self._native)
        return result

    def close(self) -> None:
        """Reset all connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def main(arguments: list[str] | None = None) -> int:
    """Serve commands until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m noria.lab.client", description=__doc__)
    parser.add_argument("--core", type=int, default=-1, help="CPU to run on")
    parser.add_argument("--progress-fd", type=int, default=-1, help="file for live counters")
    options = parser.parse_args(arguments)
    native = load_native()
    native.end_with_parent()
    if options.core >= 0:
        pin(options.core)
    gc.disable()
    commands = Commands(native, options.progress_fd)
    try:
        for line in sys.stdin:
            try:
                answer = {"ok": True, "result": commands.run(json.loads(line))}
            except (KeyError, TypeError, ValueError, OSError, RuntimeError) as error:
                answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
            except LabError as error:
                answer = {"ok": False, "error": str(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    finally:
        commands.close()
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
