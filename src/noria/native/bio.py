"""Memory of ssl.MemoryBIO, interpreted twin of bio.pyx."""

from typing import Any

AVAILABLE = False
"""Whether `shrink` does anything."""


def shrink(bio: Any) -> None:
    """Give the memory of an empty MemoryBIO back; that cannot be done from here."""
