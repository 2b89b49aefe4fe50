"""A TCP echo server and its clients on one noria loop, every byte compared.

Written for Windows, where the engine is `select`; it runs anywhere.
"""

import argparse
import asyncio
import importlib
import os
import sys
import time

# Below, at and above what one receive may return.
_SIZES_BYTES = (1, 64, 1024, 65536, 300_000)
_TIMEOUT_SECONDS = 60


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()


async def _client(port: int, number: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    echoed = 0
    for size in _SIZES_BYTES:
        message = (number * size % 2**64).to_bytes(8, "little") * (size // 8 + 1)
        writer.write(message)
        answer = await reader.readexactly(len(message))
        if answer != message:
            raise AssertionError(f"client {number}: {len(message)} bytes came back changed")
        echoed += len(answer)
    writer.write_eof()
    if rest := await reader.read():
        raise AssertionError(f"client {number}: {len(rest)} bytes too many")
    writer.close()
    await writer.wait_closed()
    return echoed


async def _serve(clients: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Echo, "127.0.0.1", 0, backlog=clients)
    port = server.sockets[0].getsockname()[1]
    start = time.perf_counter()
    async with server, asyncio.timeout(_TIMEOUT_SECONDS):
        echoed = await asyncio.gather(*(_client(port, number) for number in range(clients)))
    seconds = time.perf_counter() - start
    engine = getattr(loop, "engine", "none")
    print(
        f"echo: {len(echoed)} clients, {sum(echoed)} bytes each way, all right, "
        f"{seconds:.2f} s; loop {type(loop).__module__}.{type(loop).__name__}, engine {engine}"
    )


def main() -> None:
    """Run the echo on the loop that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--engine", default="select", help="noria's engine (default: select)")
    parser.add_argument("--asyncio", action="store_true", help="asyncio's own loop, to compare")
    arguments = parser.parse_args()
    if arguments.asyncio:
        asyncio.run(_serve(arguments.clients))
        return
    os.environ["NORIA_ENGINE"] = arguments.engine
    try:
        noria = importlib.import_module("noria")
    except ImportError as error:
        sys.exit(f"echo: noria cannot be imported: {error}")
    noria.run(_serve(arguments.clients))


if __name__ == "__main__":
    main()
