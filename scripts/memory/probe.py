"""Make one error in C: `probe.py LIBRARY NAME`. A sanitizer that works ends the process there."""

from __future__ import annotations

import ctypes
import sys

TEXT = b"x" * 35  # neither it nor its end falls on a multiple of what an allocator hands out
"""An object of its own: the letters of the alphabet are kept by the interpreter."""

if __name__ == "__main__":
    library, name = sys.argv[1:]
    ctypes.CDLL(library)[name](TEXT, len(TEXT))
