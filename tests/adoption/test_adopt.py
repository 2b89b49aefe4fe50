"""Each block of docs/howto/adopt.md does what the page says, on noria's loop."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.adoption import page

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.posix  # signals, and what is installed

MAIN = page.WHO + "async def main():\n    print(json.dumps(who()))\n"
ASGI = "from app import app\n"
AIOHTTP = """
from aiohttp import web

async def answer(request):
    return web.json_response(who())

app = web.Application()
app.router.add_get("/who", answer)
"""
TORNADO = """
import tornado.web

class Answer(tornado.web.RequestHandler):
    async def get(self):
        self.write(who())

class Application(tornado.web.Application):
    def listen(self, port, address):
        server = super().listen(port, address)
        for sock in server._sockets.values():
            print("http://%s:%d" % sock.getsockname(), flush=True)

app = Application([("/who", Answer)])
"""
TESTS = """
import asyncio
import noria
import pytest
{mark}

@pytest.fixture
async def number():
    await asyncio.sleep(0)
    return 7

@{marker}
async def test_it(number):
    assert isinstance(asyncio.get_running_loop(), noria.Loop)
    assert number == 7
"""


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip where a package is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)} (extra `adoption`)"
    )


def test_asyncio(tmp_path: Path) -> None:
    for block in page.blocks("asyncio"):
        assert page.is_ours(json.loads(page.run(MAIN + block, tmp_path)))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run has no loop_factory yet")
def test_asyncio_run(tmp_path: Path) -> None:
    line = "asyncio.run(main(), loop_factory=noria.new_event_loop)"
    assert f"`{line}`" in page.PAGE.read_text("utf-8")
    assert page.is_ours(json.loads(page.run(f"{MAIN}import noria\n{line}", tmp_path)))


def test_a_policy(tmp_path: Path) -> None:
    (block,) = page.blocks("What asks a policy")
    assert page.is_ours(json.loads(page.run(f"{MAIN}{block}\nasyncio.run(main())", tmp_path)))


def test_aiofiles(tmp_path: Path) -> None:
    program, renaming = page.blocks("From aiofiles")
    for head in (program, renaming + program.replace("noria.compat.aiofiles", "aiofiles")):
        for run in ("import noria; noria.run(main())", "import asyncio; asyncio.run(main())"):
            assert page.run(f"{head}\n{run}\n", tmp_path) == "['one\\n', 'two\\n']\n"
        assert not (tmp_path / "data.txt").exists()


@needs("uvicorn")
def test_uvicorn(tmp_path: Path) -> None:
    with page.serving_command("uvicorn", tmp_path) as server:
        assert page.is_ours(server.ask())
        server.end()
        assert "Traceback" not in server.printed


@needs("hypercorn")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_hypercorn(tmp_path: Path, number: signal.Signals) -> None:
    with page.serving_block("hypercorn", ASGI, tmp_path) as server:
        assert page.is_ours(server.ask())
        assert server.end(number) == 0, server.printed
        assert "Traceback" not in server.printed
        assert "shutdown\n" in server.printed


@needs("gunicorn", "uvicorn_worker")
def test_gunicorn(tmp_path: Path) -> None:
    with page.serving_command("gunicorn", tmp_path) as server:
        assert page.is_ours(server.ask())
        assert server.end() == 0, server.printed
        assert "Traceback" not in server.printed


@needs("aiohttp")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_aiohttp(tmp_path: Path, number: signal.Signals) -> None:
    with page.serving_block("aiohttp", AIOHTTP, tmp_path) as server:
        assert page.is_ours(server.ask())
        assert server.end(number) == 0, server.printed
        assert "Traceback" not in server.printed


@needs("aiohttp")
def test_the_client_of_aiohttp_uses_the_loop_that_runs(tmp_path: Path) -> None:
    program = f"""{page.WHO}{AIOHTTP}
import aiohttp, noria
async def main():
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        async with session.get(site.name + "/who") as response:
            print(await response.text())
    await runner.cleanup()
noria.run(main())
"""
    assert page.is_ours(json.loads(page.run(program, tmp_path)))


@needs("tornado")
def test_tornado(tmp_path: Path) -> None:
    with page.serving_block("Tornado", TORNADO, tmp_path) as server:
        assert page.is_ours(server.ask())


@needs("anyio")
def test_anyio(tmp_path: Path) -> None:
    block = page.blocks("AnyIO")[0]
    assert page.is_ours(json.loads(page.run(MAIN + block, tmp_path)))


def run_tests(folder: Path, conftest: str, tests: str, *options: str) -> str:
    """Run pytest on a folder of its own."""
    (folder / "conftest.py").write_text(conftest, "utf-8")
    (folder / "test_it.py").write_text(tests, "utf-8")
    words = ("-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder))
    return page.run_command([sys.executable, *words, *options, "-v", str(folder)], folder)


@needs("anyio")
def test_the_plugin_of_anyio(tmp_path: Path) -> None:
    tests = TESTS.format(mark="", marker="pytest.mark.anyio")
    told = run_tests(tmp_path, page.blocks("AnyIO")[1], tests, "-p", "no:asyncio")
    assert "1 passed" in told


@needs("pytest_asyncio")
def test_pytest_asyncio(tmp_path: Path) -> None:
    tests = TESTS.format(mark="", marker="pytest.mark.asyncio")
    (conftest,) = page.blocks("pytest-asyncio")
    told = run_tests(tmp_path, conftest, tests, "-p", "no:anyio", "-o", "asyncio_mode=auto")
    assert "test_it.py::test_it PASSED" in told
    assert "1 passed" in told


SESSION = """
import sys
from IPython.terminal.ipapp import TerminalIPythonApp
app = TerminalIPythonApp.instance()
app.initialize(["--no-banner", "--colors=NoColor"])
for cell in {cells!r}:
    if not app.shell.run_cell(cell).success:
        sys.exit(1)
"""
AWAITS = "await asyncio.sleep(0); first = asyncio.get_running_loop()"
ASKS = (
    "await asyncio.sleep(0);"
    "print(json.dumps(who() | {'same': first is asyncio.get_running_loop()}))"
)


@needs("IPython")
@pytest.mark.parametrize("place", ["at the prompt", "in the profile"])
def test_ipython(tmp_path: Path, place: str) -> None:
    setting_up, profile = page.blocks("IPython")
    cells = [page.WHO, AWAITS, ASKS]
    if place == "at the prompt":
        cells.insert(0, setting_up)
    else:
        folder = tmp_path / "profile_default"
        folder.mkdir()
        (folder / "ipython_config.py").write_text(f"c = get_config()\n{profile}", "utf-8")
    program = tmp_path / "program.py"
    program.write_text(SESSION.format(cells=cells), "utf-8")
    told = page.run_command([sys.executable, str(program)], tmp_path, IPYTHONDIR=str(tmp_path))
    answer = json.loads(told.splitlines()[-1])
    assert page.is_ours(answer)
    assert answer["same"] is True


@needs("ipykernel", "jupyter_client")
def test_jupyter(tmp_path: Path) -> None:
    """A kernel is started as Jupyter does it, and runs a cell that awaits."""
    (profile,) = page.blocks("Jupyter")
    folder = tmp_path / "profile_default"
    folder.mkdir()
    (folder / "ipython_kernel_config.py").write_text(profile, "utf-8")
    program = f"""
from jupyter_client.manager import KernelManager

manager = KernelManager()
manager.start_kernel()
client = manager.client()
client.start_channels()
try:
    client.wait_for_ready(timeout={page.PATIENCE_SECONDS})
    def show(message):
        if message["msg_type"] == "stream":
            print(message["content"]["text"], end="")
    cell = {page.WHO!r} + "await asyncio.sleep(0)\\nprint(json.dumps(who()))"
    reply = client.execute_interactive(cell, timeout={page.PATIENCE_SECONDS}, output_hook=show)
    assert reply["content"]["status"] == "ok", reply
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""
    path = tmp_path / "program.py"
    path.write_text(program, "utf-8")
    told = page.run_command(
        [sys.executable, str(path)],
        tmp_path,
        IPYTHONDIR=str(tmp_path),
        JUPYTER_RUNTIME_DIR=str(tmp_path / "runtime"),
    )
    assert page.is_ours(json.loads(told.splitlines()[-1]))
