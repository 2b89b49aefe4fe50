"""subprocess_exec and subprocess_shell."""

from __future__ import annotations

import subprocess
import sys
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVar

from noria.loop.core import LoopCore
from noria.transports.process import ProcessTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_Protocol = TypeVar("_Protocol", bound="asyncio.BaseProtocol")
_SPECIAL = {subprocess.PIPE: "<pipe>", subprocess.STDOUT: "<stdout>", subprocess.DEVNULL: "<null>"}


class ProcessesMixin(LoopCore):
    """Child processes."""

    async def subprocess_exec(
        self,
        protocol_factory: Callable[[], _Protocol],
        program: Any,
        *args: Any,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = False,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _Protocol]:
        """Start a program (vfork(2), execve(2)).

        Args:
            protocol_factory: makes the protocol, an asyncio.SubprocessProtocol.
            program: what to start; str, bytes or os.PathLike, as are `args`.
            args: its arguments.
            stdin: what the child reads: PIPE, DEVNULL, a file object, a number, or None for this
                process's own; of the `subprocess` module.
            stdout: what it writes to, likewise.
            stderr: what it writes errors to; also STDOUT.
            universal_newlines, shell, encoding, errors, text: only their defaults.
            bufsize: only 0.
            kwargs: further arguments of subprocess.Popen: cwd, env, pass_fds, preexec_fn, ...

        Returns:
            The transport and the protocol. Cancelled before that, the child is killed.

        Raises:
            ValueError: an argument has not its only value.
            OSError: it cannot be started; FileNotFoundError if there is no such program.
            NotImplementedError: on Windows, as in asyncio's loop over select.
        """
        _check_text(universal_newlines, bufsize, encoding, errors, text)
        if shell:
            raise ValueError("shell must be False")
        about = f"execute program {program!r}"
        files = (stdin, stdout, stderr)
        return await self._start_process(
            protocol_factory, (program, *args), about, files, kwargs | {"shell": False}
        )

    async def subprocess_shell(
        self,
        protocol_factory: Callable[[], _Protocol],
        cmd: str | bytes,
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        universal_newlines: bool = False,
        shell: bool = True,
        bufsize: int = 0,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        **kwargs: Any,
    ) -> tuple[asyncio.SubprocessTransport, _Protocol]:
        """Start a command line of the shell.

        Args:
            protocol_factory: makes the protocol, an asyncio.SubprocessProtocol.
            cmd: the command line.
            stdin, stdout, stderr, kwargs: as in `subprocess_exec`, and so are result and errors.
            universal_newlines, shell, encoding, errors, text: only their defaults.
            bufsize: only 0.
        """
        if not isinstance(cmd, (bytes, str)):
            raise ValueError("cmd must be a string")  # noqa: TRY004 - asyncio's type
        _check_text(universal_newlines, bufsize, encoding, errors, text)
        if not shell:
            raise ValueError("shell must be True")
        about = f"run shell command {cmd!r}"
        files = (stdin, stdout, stderr)
        return await self._start_process(
            protocol_factory, cmd, about, files, kwargs | {"shell": True}
        )

    async def _start_process(
        self,
        protocol_factory: Callable[[], _Protocol],
        args: Any,
        about: str,
        files: tuple[Any, Any, Any],
        keywords: dict[str, Any],
    ) -> tuple[asyncio.SubprocessTransport, _Protocol]:
        protocol = protocol_factory()
        if sys.platform == "win32":
            raise NotImplementedError("noria has no child processes on Windows")
        self._check_closed()
        named = dict(zip(("stdin", "stdout", "stderr"), files, strict=True))
        if self._debug:
            # Not the arguments: there may be a password among them.
            logger.debug(" ".join([about, *_describe(named)]))
        extra = keywords.pop("extra", None)
        keywords |= named | {"bufsize": 0}
        transport = ProcessTransport(self, protocol, args, keywords, extra)
        waiter = self.create_future()
        self.call_soon(transport._start, waiter, context=transport._context)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        if self._debug:
            logger.info("%s: %r", about, transport)
        return transport, protocol


def _check_text(
    universal_newlines: bool,
    bufsize: int,
    encoding: Any,
    errors: Any,
    text: Any,
) -> None:
    """Refuse what would make text of the child's bytes, or buffer them."""
    if universal_newlines:
        raise ValueError("universal_newlines must be False")
    if bufsize != 0:
        raise ValueError("bufsize must be 0")
    if text:
        raise ValueError("text must be False")
    if encoding is not None:
        raise ValueError("encoding must be None")
    if errors is not None:
        raise ValueError("errors must be None")


def _describe(files: dict[str, Any]) -> list[str]:
    """Say what the child's files are, for the log."""
    if files["stdout"] is not None and files["stderr"] == subprocess.STDOUT:
        shown = {"stdin": files["stdin"], "stdout=stderr": files["stdout"]}
    else:
        shown = files
    return [
        f"{name}={_SPECIAL.get(file, file) if isinstance(file, int) else repr(file)}"
        for name, file in shown.items()
        if file is not None
    ]
