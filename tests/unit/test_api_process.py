"""Live loops at the end of the interpreter and across fork: nothing hangs, nothing is lost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

# -- the end of the interpreter -----------------------------------------------------------------

ENDS = {
    "idle": "",
    "after a run": "loop.run_until_complete(asyncio.sleep(0))",
    "with work": "loop.call_soon(print); loop.call_later(0, print)",
    "in a cycle": "loop.me = loop",
    "in a hidden place": "import builtins; builtins.kept = loop; del loop",
    "with a signal handler": "loop.add_signal_handler(signal.SIGTERM, print)",
    "with a resolver": "loop.run_until_complete(loop.getaddrinfo('localhost', 80))",
    "with an executor": "loop.run_until_complete(loop.run_in_executor(None, int))",
    "running in a thread": """
running = threading.Event()
loop.call_soon(running.set)
threading.Thread(target=loop.run_forever, daemon=True).start()
running.wait()
""",
    "with files": """
import os
from noria.lowlevel import Operation
from noria.core.codes import FSYNC
op = Operation(FSYNC, os.open(os.devnull, os.O_RDONLY))
assert not loop.submit(op)
loop.call_later(0.01, loop.stop)
loop.run_forever()
""",
    "from an exit handler": "import atexit; atexit.register(loop.close)",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_with_a_live_loop(
    end: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    if sys.platform == "win32" and "signal" in end:
        pytest.skip("Windows has no signals for a loop")
    program = "import asyncio, signal, threading, noria\nloop = noria.new_event_loop()\n"
    result = run_python(program + ENDS[end] + "\nprint('end')", "-W", "always")
    assert (result.returncode, result.stdout) == (0, "end\n"), result.stderr
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr
    assert "Fatal" not in result.stderr


def test_the_end_of_the_interpreter_warns_as_asyncio_does(
    run_python: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    programs = (
        "import noria; loop = noria.new_event_loop()",
        "import asyncio; loop = asyncio.new_event_loop()",
    )
    for program in programs:
        result = run_python(program, "-W", "always")
        assert "ResourceWarning: unclosed event loop" in result.stderr


# -- fork ---------------------------------------------------------------------------------------

FORK = """
import asyncio, gc, os, signal, sys, threading, warnings, noria
warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads

def wait_for(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def echo(reader, writer):
    writer.write(await reader.readexactly(5))
    await writer.drain()
    writer.close()

loop = noria.new_event_loop()
"""

FORKED = {
    "a child cannot run the loop": """
child = os.fork()
if child == 0:
    coro = asyncio.sleep(0)
    for run in (loop.run_forever, lambda: loop.run_until_complete(coro)):
        try:
            run()
        except noria.ForkedEngineError as exc:
            print(type(exc).__name__, "fork" in str(exc), loop.is_running(), flush=True)
    assert not asyncio.all_tasks(loop)
    coro.close()
    os._exit(0)
assert wait_for(child) == 0
""",
    "a child inside a run leaves it": """
def fork():
    global child
    child = os.fork()
    if child:
        loop.call_later(0.01, loop.stop)
loop.call_soon(fork)
try:
    loop.run_forever()
except noria.ForkedEngineError as exc:
    print(type(exc).__name__, loop.is_running(), flush=True)
    loop.close()
    os._exit(0)
assert child and wait_for(child) == 0
""",
    "a child closes its copy": """
import socket
async def serve():
    global server
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
loop.run_until_complete(serve())
child = os.fork()
if child == 0:
    loop.close()
    loop.close()
    print(loop.is_closed(), flush=True)
    os._exit(0)
assert wait_for(child) == 0
async def talk():
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello")
    print((await reader.read()).decode())
    writer.close()
    await writer.wait_closed()
    server.close()
loop.run_until_complete(talk())
""",
    "a child drops its copy": """
child = os.fork()
if child == 0:
    warnings.simplefilter("ignore")
    del loop
    gc.collect()
    os._exit(0)
assert wait_for(child) == 0
print(loop.run_until_complete(asyncio.sleep(0, "alive")))
""",
    "a child makes a loop of its own": """
def fork():
    global child
    child = os.fork()
    if child == 0:
        status = noria.run(asyncio.sleep(0, 7))
        os._exit(status)
loop.call_soon(fork)
loop.call_later(0.01, loop.stop)
loop.run_forever()
print(wait_for(child))
""",
    "a child waits for no thread of the parent": """
gate = threading.Event()
loop.run_in_executor(None, gate.wait)
with loop._default_executor._shutdown_lock:  # as if a thread were just using it
    child = os.fork()
    if child == 0:
        loop.close()
        os._exit(7)
print(wait_for(child))
gate.set()
loop.run_until_complete(loop.shutdown_default_executor())
""",
    "a signal of the child is no signal of the parent": """
seen = []
loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
child = os.fork()
if child == 0:
    signal.raise_signal(signal.SIGUSR1)
    print(signal.set_wakeup_fd(-1), loop._wakeup.fd, flush=True)
    os._exit(0)
assert wait_for(child) == 0
loop.run_until_complete(asyncio.sleep(0.01))
signal.raise_signal(signal.SIGUSR1)
loop.run_until_complete(asyncio.sleep(0.01))
print(len(seen))
""",
    "Ctrl-C in a child is the interpreter's": """
def fork():
    global child
    child = os.fork()
    if child == 0:
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
        os._exit(0)
loop.call_soon(fork)
loop.call_later(0.01, loop.stop)
loop.run_forever()
assert wait_for(child) == 0
""",
}
FORKED_OUTPUT = {
    "a child cannot run the loop": "ForkedEngineError True False\n" * 2,
    "a child inside a run leaves it": "ForkedEngineError False\n",
    "a child closes its copy": "True\nhello\n",
    "a child drops its copy": "alive\n",
    "a child makes a loop of its own": "7\n",
    "a child waits for no thread of the parent": "7\n",
    "a signal of the child is no signal of the parent": "-1 -1\n1\n",
    "Ctrl-C in a child is the interpreter's": "True\n",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("case", FORKED)
def test_fork_with_a_live_loop(
    case: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(FORK + FORKED[case] + "\nloop.close()")
    assert (result.returncode, result.stdout) == (0, FORKED_OUTPUT[case]), result.stderr
    assert result.stderr == ""
