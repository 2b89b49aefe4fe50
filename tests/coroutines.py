"""Coroutines and marks for the tests of what asyncio builds on a loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest

since_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has it since 3.12")
since_313 = pytest.mark.skipif(sys.version_info < (3, 13), reason="asyncio has it since 3.13")

SOON = 0.01
"""Seconds after which something is to happen."""
NEVER = 3600.0
"""Seconds that are not waited for."""

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def value(result: Any, delay: float = 0) -> Any:
    await asyncio.sleep(delay)
    return result


async def failure(delay: float = 0) -> None:
    await asyncio.sleep(delay)
    raise ZeroDivisionError("as expected")
