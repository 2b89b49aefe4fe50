"""BACKENDS: the disk backends by name, one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noria.disk.threads import ThreadBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from noria.disk.interface import DiskBackend

BACKENDS: Final[dict[str, type[DiskBackend]]] = {
    "threads": ThreadBackend,
}


def make_backend(wake: Callable[[], None], name: str = "threads") -> DiskBackend:
    """Make a backend by its name.

    Raises:
        KeyError: there is no such backend.
    """
    return BACKENDS[name](wake)
