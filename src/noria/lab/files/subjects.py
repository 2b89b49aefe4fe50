"""Who can be measured: from a word to a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from noria.lab.errors import LabError
from noria.lab.files import fio, peers, sync_os
from noria.lab.files.noria_files import Noria

if TYPE_CHECKING:
    from noria.lab.files.subject import Subject

PEERS: Final[dict[str, type[Subject]]] = {
    subject.name: subject
    for subject in (
        peers.Turbofile,
        peers.Urio,
        peers.Aiofile,
        peers.Caio,
        peers.Pyaio,
        peers.Asyncfiles,
        peers.Aiofiles,
        peers.Anyio,
    )
}
"""Other libraries."""


def split(word: str) -> tuple[str, str]:
    """Split a subject's word into its name and what follows. Raises LabError for an unknown one."""
    if word == sync_os.NAME:
        return word, ""
    if word.startswith(Noria.name):
        Noria(word[len(Noria.name) :])
        return Noria.name, word[len(Noria.name) :]
    name, _, option = word.partition(":")
    if name in PEERS or (name == fio.NAME and option in fio.ENGINES):
        return name, option
    known = ", ".join(
        ["noria (also noria:<engine>/<disk>, noria@asyncio, noria@uvloop)", sync_os.NAME]
        + [f"{fio.NAME}:{engine}" for engine in fio.ENGINES]
        + list(PEERS)
    )
    raise LabError(f"unknown contender {word!r}; there are {known}")


def missing(word: str) -> str | None:
    """Say why a subject cannot run here; None if it can. Raises LabError for an unknown word."""
    name, _ = split(word)
    if name == fio.NAME:
        return fio.missing()
    if name in PEERS:
        return PEERS[name].missing()
    return None


def load(word: str) -> Subject:
    """Make a subject that has a loop. Raises LabError for one that has none, or cannot run."""
    name, option = split(word)
    reason = missing(word)
    if reason is not None:
        raise LabError(reason)
    if name == Noria.name:
        return Noria(option)
    if name in PEERS:
        return PEERS[name](option)
    raise LabError(f"{word} has no event loop")
