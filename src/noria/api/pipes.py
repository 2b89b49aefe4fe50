"""connect_read_pipe and connect_write_pipe."""

from __future__ import annotations

import sys
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeVar

from noria.loop.core import LoopCore
from noria.transports.pipe import PipeTransport, ReadPipeTransport, check_pipe, own_copy
from noria.transports.pipe_writing import WritePipeTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_Protocol = TypeVar("_Protocol", bound="asyncio.BaseProtocol")


class PipesMixin(LoopCore):
    """Transports of pipes that the user has."""

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _Protocol], pipe: Any
    ) -> tuple[asyncio.ReadTransport, _Protocol]:
        """Read from a pipe (pipe(7)), a socket or a character device such as a terminal.

        Args:
            protocol_factory: makes the protocol.
            pipe: an open file object; it becomes non-blocking, and is closed with the transport.

        Returns:
            The transport and the protocol.

        Raises:
            ValueError: it is a regular file, a directory, or closed.
            OSError: there is no descriptor number left (EMFILE).
            NotImplementedError: on Windows, as in asyncio's loop over select.
        """
        protocol = protocol_factory()
        transport = await self._connect_pipe(ReadPipeTransport, protocol, pipe)
        if self._debug:
            logger.debug("Read pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol  # type: ignore[return-value] # the class that was asked for

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _Protocol], pipe: Any
    ) -> tuple[asyncio.WriteTransport, _Protocol]:
        """Write to a pipe (pipe(7)), a socket or a character device such as a terminal.

        When the reader has gone the transport closes by itself. Arguments, result and errors are
        those of `connect_read_pipe`.
        """
        protocol = protocol_factory()
        transport = await self._connect_pipe(WritePipeTransport, protocol, pipe)
        if self._debug:
            logger.debug("Write pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol  # type: ignore[return-value] # the class that was asked for

    async def _connect_pipe(
        self, kind: type[PipeTransport], protocol: asyncio.BaseProtocol, pipe: Any
    ) -> PipeTransport:
        if sys.platform == "win32":
            raise NotImplementedError("noria has no transports of pipes on Windows")
        self._check_closed()
        fd = check_pipe(pipe, writes=kind is WritePipeTransport)
        waiter = self.create_future()
        transport = kind(self, own_copy(fd), pipe, protocol)
        self.call_soon(transport._start, waiter, context=transport._context)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport
