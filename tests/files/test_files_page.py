"""The programs on files do what the pages say: README's, those of the how-to and the tutorial."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from noria.disk.registry import DISKS
from tests import tree

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="locks, pipes, names with slashes")


def programs(name: str, begin: str = "") -> list[str]:
    """The programs of a page, from a line of it on."""
    text = tree.ROOT.joinpath(name).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text[text.index(begin) :], re.MULTILINE | re.DOTALL)


PROGRAMS = [
    *programs("docs/howto/files.md"),
    *programs("README.md", "\n## Files\n"),
    *programs("docs/tutorial/files.md"),
]
PRINTED = [
    r"buy milk\nfeed the cat 22\nsleep 28\nb'sleep\\n'\n",
    r"\[b'0007', b'0042', b'0099'\]\n8 bytearray\(b'00100011'\)\n5 b'0099'\n0\n",
    r"paid 5\npaid 7\n 12\n\n",
    r"somebody has it\nTrue\n",
    r"4096 4096\nnot aligned to \d+ bytes\n|no direct I/O here: .*\n",
    r"b'late\\n'\n",
    r"b'34'\nsmall\nTrue 8 0\n",
    r"11 1000000 0\nTrue\nTrue True\n",
    r"hello\n",
    r"hello, Ada\nhello, Grace\nb'Grace'\n",
    r"\{'200': 2, '404': 1\}\n",
    r"\{'404': 1\}\n\{'404': 1, '200': 1, '500': 1\}\n",
    r'\{"position": 23, "counts": \{"200": 1, "404": 1\}\}\n'
    r'\{"position": 37, "counts": \{"200": 2, "404": 1\}\}\n',
    r"HTTP/1.1 404 Not Found\n"
    r'HTTP/1.1 200 OK \{"position": 23, "counts": \{"200": 1, "201": 1\}\}\n',
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
    # One of the programs is a guest, for which not every engine will do.
    monkeypatch.delenv("NORIA_ENGINE", raising=False)
    exec(program, {"__name__": "__main__"})
    assert re.fullmatch(printed, capsys.readouterr().out)


@pytest.mark.parametrize("name", DISKS)
def test_each_disk_backend_has_a_page(name: str) -> None:
    page = tree.ROOT.joinpath("docs", "disks", f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# Backend `{name}`\n")
    headings = re.findall(r"^## (.*)", page, re.MULTILINE)
    assert (headings[0], headings[-2:]) == ("Facts", ["At the end", "Sources"])
