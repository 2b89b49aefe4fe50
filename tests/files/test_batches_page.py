"""The programs of docs/howto/batches-and-watches.md do what the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests import tree

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (tree.ROOT / "docs" / "howto" / "batches-and-watches.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = [
    r"(b'\d{4}'\n){10}",
    r"True 2\n",
    r"",
    r"created folder/below True\ncreated folder/below/file False\n",
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_each_program_runs(
    program: str,
    printed: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(program, {"__name__": "__main__"})
    assert re.fullmatch(printed, capsys.readouterr().out)
