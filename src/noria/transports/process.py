"""ProcessTransport: asyncio's transport of a child process, with its pipes.

The child is started by subprocess.Popen, which does not copy the parent (vfork) unless there is a
`preexec_fn`, and knows every argument. Its pipes are pipes. The protocol is told of them from the
pipes' own events, in order: `connection_made` first, `connection_lost` when the process has ended
and every pipe is lost.

`_wait` ends with the process. What it wrote is read by then, as far as the protocol lets it: a
grandchild that keeps a pipe open keeps `connection_lost` back, but not those who wait.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import warnings
from asyncio.log import logger
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from noria.core.descriptor import Descriptor
from noria.transports.child import Child
from noria.transports.pipe import PipeTransport, ReadPipeTransport, set_nonblocking
from noria.transports.pipe_writing import WritePipeTransport

if TYPE_CHECKING:
    from noria.loop.core import LoopCore

_SIGKILL: int = getattr(signal, "SIGKILL", 9)  # of Unix


class ChildPipeProtocol(asyncio.Protocol):
    """Passes the events of one pipe on to the process's protocol.

    Attributes:
        process: the transport of the process; None once the pipe is lost.
        number: the child's descriptor: 0, 1 or 2.
        transport: the pipe's transport.
        disconnected: `connection_lost` was called.
    """

    def __init__(self, process: ProcessTransport, number: int) -> None:
        self.process: Any = process
        self.number = number
        self.transport: PipeTransport
        self.disconnected = False

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.process._protocol.pipe_data_received(self.number, data)

    def pause_writing(self) -> None:
        """Pass it on."""
        self.process._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.process._protocol.resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Pass it on; the last one may end the process's connection."""
        self.disconnected = True
        try:
            self.process._protocol.pipe_connection_lost(self.number, exc)
        finally:
            self.process._try_finish()
            self.process = None

    def __repr__(self) -> str:
        """Number and pipe, for logs."""
        return f"<{type(self).__name__} fd={self.number} pipe={self.transport!r}>"


class ProcessTransport(asyncio.SubprocessTransport):
    """Transport of a child process.

    Args:
        loop: the loop it belongs to.
        protocol: gets the events.
        args: program and arguments, or a command line with `shell=True`.
        keywords: passed on to subprocess.Popen.

    Raises:
        OSError: the program cannot be started.
    """

    if TYPE_CHECKING:
        _extra: dict[str, Any]

    def __init__(
        self,
        loop: LoopCore,
        protocol: asyncio.BaseProtocol,
        args: Any,
        keywords: dict[str, Any],
        extra: dict[str, Any] | None = None,
    ) -> None:
        self._proc: subprocess.Popen[bytes] | None = None  # until there is one: see __del__
        self._closed = False
        super().__init__(extra)
        self._loop = loop
        self._protocol: Any = protocol
        self._context = copy_context()
        self._pid: int | None = None
        self._returncode: int | None = None
        # None once they have been told, and who comes later need not wait.
        self._exit_waiters: list[asyncio.Future[int | None]] | None = []
        self._pipes: dict[int, ChildPipeProtocol] = {}
        self._finished = False
        # Starting a child takes about a millisecond; what waits for the end of the turn goes first.
        loop._engine.flush()
        process = subprocess.Popen(args, universal_newlines=False, **keywords)
        self._pid = process.pid
        self._extra["subprocess"] = process
        self._child = Child(loop, process)
        self._proc = process
        try:
            for number, file in enumerate((process.stdin, process.stdout, process.stderr)):
                if file is not None:
                    self._connect(number, file)
        except BaseException:
            self._abandon()
            raise
        if loop._debug:
            program = args if isinstance(args, (bytes, str)) else args[0]
            logger.debug("process %r created: pid %s", program, self._pid)

    def _connect(self, number: int, file: Any) -> None:
        set_nonblocking(file.fileno())
        protocol = ChildPipeProtocol(self, number)
        kind = ReadPipeTransport if number else WritePipeTransport
        # The object owns the number: nobody else has it.
        descriptor = Descriptor(file.fileno(), file)
        protocol.transport = kind(self._loop, descriptor, file, protocol, None, self._context)
        protocol.transport._grows = True
        self._pipes[number] = protocol

    # -- starting ---------------------------------------------------------------------------

    def _start(self, waiter: asyncio.Future[Any]) -> None:
        """Call `connection_made`, begin, release the waiter; once, from the loop."""
        try:
            self._protocol.connection_made(self)
        except (SystemExit, KeyboardInterrupt):
            self._loop.call_soon(self._begin, waiter)  # the next run goes on here (L4)
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": "Exception in protocol.connection_made()",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
        self._begin(waiter)

    def _begin(self, waiter: asyncio.Future[Any]) -> None:
        for protocol in self._pipes.values():
            protocol.transport._begin()
        self._child.wait(self._on_exit)
        if not waiter.cancelled():
            waiter.set_result(None)

    # -- its end ----------------------------------------------------------------------------

    def _on_exit(self, code: int) -> None:
        """Take the exit code; called once."""
        self._returncode = code
        loop = self._loop
        if loop._debug:
            logger.info("%r exited with return code %r", self, code)
        try:
            for protocol in self._pipes.values():
                protocol.transport._look()
        finally:  # also when the protocol was interrupted (L4)
            loop.call_soon(self._protocol.process_exited, context=self._context)
            self._try_finish()
            if any(not protocol.transport._lost for protocol in self._pipes.values()):
                loop.call_soon(self._wake_waiters)  # somebody else has the other end
            # Otherwise `connection_lost` is on its way.

    def _try_finish(self) -> None:
        if self._finished or self._returncode is None:
            return
        if all(protocol.disconnected for protocol in self._pipes.values()):
            self._finished = True
            self._loop.call_soon(self._lose, context=self._context)

    def _lose(self) -> None:
        try:
            self._protocol.connection_lost(None)
        finally:
            self._wake_waiters()
            self._proc = None
            self._protocol = None

    def _wake_waiters(self) -> None:
        waiters = self._exit_waiters
        self._exit_waiters = None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(self._returncode)

    async def _wait(self) -> int | None:
        """Wait for the end of the process; its exit code. asyncio.subprocess calls it."""
        if self._exit_waiters is None:
            return self._returncode
        waiter: asyncio.Future[int | None] = self._loop.create_future()
        self._exit_waiters.append(waiter)
        return await waiter

    def close(self) -> None:
        """Close the pipes and kill the process if it still runs. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for protocol in self._pipes.values():
            protocol.transport.close()
        process = self._proc
        if process is None or self._returncode is not None or process.poll() is not None:
            return
        if self._loop._debug:
            logger.warning("Close running child process: kill %r", self)
        try:
            process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # it has ended meanwhile, or runs as another user

    def _abandon(self) -> None:
        """Kill the process and close everything, without the loop."""
        self._closed = True
        process = self._proc
        if process is not None and self._returncode is None and process.poll() is None:
            try:
                process.kill()
            except (ProcessLookupError, PermissionError):
                pass  # as above
        self._child.abandon()
        for protocol in self._pipes.values():
            protocol.transport._release()
        if process is not None:
            for file in (process.stdin, process.stdout, process.stderr):
                if file is not None:
                    file.close()

    def __del__(self) -> None:
        """Warn of a transport that nobody closed, and kill its process."""
        if self._finished or self._proc is None:
            return
        if not self._closed:
            text = f"unclosed transport {self!r}"
            warnings.warn(text, ResourceWarning, source=self, stacklevel=2)
        self._abandon()  # also of one whose end the loop did not live to see

    # -- what asyncio.SubprocessTransport has -------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the following events to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the current protocol; None after the connection is lost."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def get_pid(self) -> int | None:  # type: ignore[override] # typeshed leaves None out
        """Process number of the child."""
        return self._pid

    def get_returncode(self) -> int | None:
        """Exit code, minus the signal's number if one killed it; None while it runs."""
        return self._returncode

    def get_pipe_transport(self, fd: int) -> asyncio.BaseTransport | None:
        """Give the transport of the child's standard input (0), output (1) or error (2).

        Returns:
            None if that is no pipe of ours.
        """
        protocol = self._pipes.get(fd)
        return None if protocol is None else protocol.transport  # type: ignore[return-value]

    def send_signal(self, signal: int) -> None:
        """Send a signal (kill(2)); nothing happens if the process has just ended.

        Raises:
            ProcessLookupError: `connection_lost` was called.
            OSError: the number is no signal's (EINVAL), or it is not allowed (EPERM).
        """
        if self._proc is None:
            raise ProcessLookupError
        self._child.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM, as `send_signal` does."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, as `send_signal` does."""
        self.send_signal(_SIGKILL)

    def __repr__(self) -> str:
        """State, process and pipes, for logs."""
        info = [type(self).__name__]
        if self._closed:
            info.append("closed")
        if self._pid is not None:
            info.append(f"pid={self._pid}")
        if self._returncode is not None:
            info.append(f"returncode={self._returncode}")
        else:
            info.append("not started" if self._pid is None else "running")
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            protocol = self._pipes.get(number)
            if protocol is not None:
                info.append(f"{name}={protocol.transport!r}")
        return f"<{' '.join(info)}>"
