"""Fixtures of the regression tests."""

from __future__ import annotations

from tests.ledger import ledger
from tests.loops import both, loop, reports

__all__ = ["both", "ledger", "loop", "reports"]
