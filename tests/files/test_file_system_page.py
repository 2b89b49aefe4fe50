"""The programs of docs/howto/file-system.md do what the page says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests import tree

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (tree.ROOT / "docs" / "howto" / "file-system.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PRINTED = [
    ["10 True False", "['old']"],
    ["color = red", "size = 5", "b'color = blue\\n'"],
    [
        "entry a True",
        "entry skipped True",
        "walk . []",
        "walk ./a ['one.txt']",
        "walk ./a/b ['two.txt']",
    ],
    ["1000000 True", "['copy']"],
    ["True", "[]"],
    ["4", "b'body'"],
    [".html folder/page.txt True", "folder/page.html", "<p>"],
]


@pytest.mark.parametrize(("program", "printed"), list(zip(PROGRAMS, PRINTED, strict=True)))
def test_each_program_runs(
    program: str,
    printed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(program, {"__name__": "__main__"})
    # A directory has its entries in no order.
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(printed)
