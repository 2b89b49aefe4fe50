"""noria: an asyncio event loop that serves many clients from one thread.

    import noria
    noria.run(main())

`noria.open` opens files; it works on any event loop. It is not among the names that
`from noria import *` gives, since it would take the place of the builtin.

The names below are loaded when they are first used, so `import noria` costs next to nothing.
`noria.fs` is the file system, and `noria.lowlevel` the door for libraries.
"""

from __future__ import annotations

TYPE_CHECKING = False  # so `typing` itself is not loaded; type checkers know the name

if TYPE_CHECKING:
    from typing import Any

    from noria import fs
    from noria.api.factory import new_event_loop
    from noria.api.loop import Loop
    from noria.api.runner import Runner, run
    from noria.errors import (
        EngineClosedError,
        EngineUnavailableError,
        ForkedEngineError,
        NoriaError,
    )
    from noria.files.path import Path
    from noria.files.streams import open as open  # noqa: A004 - the builtin's shape

__version__ = "0.1.0.dev0"

__all__ = [
    "EngineClosedError",
    "EngineUnavailableError",
    "ForkedEngineError",
    "Loop",
    "NoriaError",
    "Path",
    "Runner",
    "__version__",
    "fs",
    "new_event_loop",
    "run",
]

_HOMES = {
    "EngineClosedError": "noria.errors",
    "EngineUnavailableError": "noria.errors",
    "ForkedEngineError": "noria.errors",
    "Loop": "noria.api.loop",
    "NoriaError": "noria.errors",
    "Path": "noria.files.path",
    "Runner": "noria.api.runner",
    "fs": "noria.fs",
    "new_event_loop": "noria.api.factory",
    "open": "noria.files.streams",
    "run": "noria.api.runner",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'noria' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - paid for by those who need it

    module = import_module(home)
    value = globals()[name] = module if home == f"noria.{name}" else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "open"})
