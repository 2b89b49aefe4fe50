"""T4, T5, L4, L5: what protocols raise, endings, pausing, contexts and interrupts of endpoints."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import sys
import warnings
from typing import Any

import pytest

import noria
from tests.datagrams import (
    HOST,
    Echo,
    Listener,
    arrivals,
    drain,
    end,
    endpoint,
    name_of,
    numbers,
    plain,
)
from tests.loops import POSIX, Reports, is_open, run, turns, until

Loop = asyncio.AbstractEventLoop
NEW = sys.version_info >= (3, 13)


class Raising(Echo):
    """Raises for every datagram that says so."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        super().datagram_received(data, addr)
        if data.startswith(b"!"):
            raise LookupError("of the user")


def test_t4_what_a_protocol_raises_is_reported_and_the_endpoint_goes_on(
    both: Loop, reports: Reports
) -> None:
    """Anybody could end a server otherwise, with one datagram that it does not expect."""

    async def main() -> None:
        server = await endpoint(Raising())
        with plain(connect=name_of(server)) as peer:
            for data in (b"a", b"!", b"b", b"!", b"c"):
                peer.send(data)
            await until(lambda: len(server.got) == 5)
            await turns(1)
            assert drain(peer) == [b"a", b"!", b"b", b"!", b"c"]
        found = reports.take()
        assert [type(report["exception"]) for report in found] == [LookupError] * 2
        if isinstance(both, noria.Loop):
            assert found[0]["message"] == "Exception in protocol.datagram_received()"
            assert found[0]["protocol"] is server
            assert found[0]["transport"] is server.transport
        assert not server.transport.is_closing()
        await end(server)

    run(both, main())


def test_t4_errors_in_connection_made_and_connection_lost(both: Loop, reports: Reports) -> None:
    class Failing(Listener):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise LookupError("made")

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise LookupError("lost")

    async def main() -> None:
        server = await endpoint(Failing())
        with plain(connect=name_of(server)) as peer:
            peer.send(b"still heard")
            await until(lambda: server.got)
        number = server.transport.get_extra_info("socket").fileno()
        server.transport.close()
        await server.ended()
        await turns(1)
        assert not is_open(number)
        assert [str(report["exception"]) for report in reports.take()] == ["made", "lost"]

    run(both, main())


@pytest.mark.posix
def test_t4_errors_in_error_received(loop: Loop, reports: Reports) -> None:
    class Failing(Listener):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            raise LookupError("of the user")

    async def main() -> None:
        server = await endpoint(Failing())
        server.transport.sendto(bytes(70_000), name_of(server))
        assert len(server.errors) == 1
        assert reports.take_one()["message"] == "Exception in protocol.error_received()"
        server.transport.sendto(b"heard", name_of(server))
        await until(lambda: server.got)
        await end(server)

    run(loop, main())


@pytest.mark.parametrize("action", ["close", "abort"])
@pytest.mark.parametrize("where", [1, 3, 16, 40])
def test_t5_ending_in_the_middle_of_a_batch(both: Loop, action: str, where: int) -> None:
    """What was sent before is sent, and nothing is delivered behind it."""

    class Ending(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            assert not self.transport.is_closing()
            super().datagram_received(data, addr)
            if len(self.got) == where:
                getattr(self.transport, action)()

    async def main() -> None:
        server = await endpoint(Ending())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(50):
                peer.send(data)
            assert await server.ended() is None
            await turns(1)
            assert server.data == numbers(where)
            assert drain(peer) == numbers(where)
        assert server.told == ["made", "lost"]

    run(both, main())


def test_t5_ending(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint()
        number = server.transport.get_extra_info("socket").fileno()
        server.transport.close()
        server.transport.close()
        server.transport.abort()
        assert server.transport.is_closing()
        assert server.told == ["made"], "not called out of close()"
        assert is_open(number)
        assert await server.ended() is None
        await turns(1)
        assert not is_open(number)
        assert server.told == ["made", "lost"]
        assert server.transport.get_write_buffer_size() == 0

    run(both, main())


def test_sendto_after_the_end_is_logged(both: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = await endpoint()
        client = await endpoint(remote_addr=name_of(server))
        client.transport.abort()
        for _ in range(4):
            client.transport.sendto(b"dropped")
        assert not caplog.records
        for _ in range(3):
            client.transport.sendto(b"dropped")
        texts = [record.getMessage() for record in caplog.records]
        assert texts == ["socket.send() raised exception."] * 3
        await client.ended()
        client.transport.sendto(b"after connection_lost")
        await turns(1)
        assert not server.got
        await end(server)

    run(both, main())


def test_between_close_and_its_end_an_endpoint_still_sends(both: Loop) -> None:
    """As asyncio does while there is a socket, where no address was given."""

    async def main() -> None:
        server = await endpoint()
        client = await endpoint()
        client.transport.close()
        client.transport.sendto(b"last words", name_of(server))
        await until(lambda: server.got)
        await end(server, client)

    run(both, main())


def test_sendto_after_the_end_of_an_unconnected_endpoint(loop: Loop) -> None:
    """asyncio's own raises AttributeError out of itself."""

    async def main() -> None:
        client = await endpoint()
        await end(client)
        client.transport.sendto(b"dropped", (HOST, 5))

    run(loop, main())


def test_pausing_and_resuming(both: Loop) -> None:
    async def main() -> None:
        server = await endpoint()
        transport = server.transport
        with plain(connect=name_of(server)) as peer:
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            for data in numbers(40):
                peer.send(data)
            await turns(3)
            assert not server.got
            transport.resume_reading()
            transport.resume_reading()
            await until(lambda: len(server.got) == 40)
            assert server.data == numbers(40)
        await end(server)
        transport.pause_reading()
        transport.resume_reading()

    run(both, main())


@pytest.mark.parametrize("every", [1, 3])
def test_pausing_in_the_middle_of_a_batch(both: Loop, every: int) -> None:
    class Pausing(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            assert self.transport.is_reading(), "told after a pause"
            super().datagram_received(data, addr)
            if len(self.got) % every == 0:
                self.transport.pause_reading()
                asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main() -> None:
        server = await endpoint(Pausing())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(50):
                peer.send(data)
            found = await arrivals(peer, 50)
            assert found == numbers(50) == server.data
        await end(server)

    run(both, main())


def test_closing_while_datagrams_are_held_back(both: Loop) -> None:
    class Pausing(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.pause_reading()

    async def main() -> None:
        server = await endpoint(Pausing())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(5):
                peer.send(data)
            await until(lambda: server.got)
            server.transport.close()
            await server.ended()
        assert server.data == [b"0"]

    run(both, main())


def test_another_protocol_in_the_middle_of_a_batch(both: Loop) -> None:
    other = Listener()

    class Passing(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.got) == 3:
                self.transport.set_protocol(other)
                other.connection_made(self.transport)

    async def main() -> None:
        server = await endpoint(Passing())
        with plain(connect=name_of(server)) as peer:
            for data in numbers(10):
                peer.send(data)
            await until(lambda: len(other.got) == 7)
        assert server.data + other.data == numbers(10)
        await end(other)
        assert "lost" not in server.told

    run(both, main())


NAME: contextvars.ContextVar[str] = contextvars.ContextVar("NAME", default="none")


def test_l5_an_endpoint_has_its_own_context(loop: Loop) -> None:
    class Noting(Listener):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.names.append(NAME.get())

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.names.append(NAME.get())
            NAME.set(f"{NAME.get()}{len(self.got)}")

        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            self.names.append("error " + NAME.get())

        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            self.names.append(NAME.get())

    async def main() -> None:
        NAME.set("one")
        first = await endpoint(Noting())
        NAME.set("two")
        second = await endpoint(Noting())
        NAME.set("three")
        with plain() as peer:
            for one in (first, second):
                peer.sendto(b"a", name_of(one))
                peer.sendto(b"b", name_of(one))
            await until(lambda: len(first.got) == len(second.got) == 2)
        await end(first, second)
        assert first.names == ["one", "one", "one1", "one12"]
        assert second.names == ["two", "two", "two1", "two12"]
        assert NAME.get() == "three"

    run(loop, main())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_l4_an_interrupt_leaves_the_rest_of_a_batch_in_place(loop: Loop, kind: Any) -> None:
    class Interrupting(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if len(self.got) in {3, 4}:
                raise kind

    server = loop.run_until_complete(endpoint(Interrupting()))
    peer = plain(connect=name_of(server))
    for data in numbers(12):
        peer.send(data)
    for count in (3, 4):
        with pytest.raises(kind):
            loop.run_until_complete(asyncio.sleep(5))
        assert len(server.got) == count

    async def rest() -> None:
        await until(lambda: len(server.got) == 12)
        await turns(1)
        assert server.data == numbers(12)
        assert drain(peer) == numbers(12)
        await end(server)
        peer.close()

    run(loop, rest())


def test_l4_an_interrupt_in_error_received(loop: Loop) -> None:
    class Interrupting(Listener):
        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            if len(self.errors) == 1:
                raise KeyboardInterrupt

    if not POSIX:
        pytest.skip("Windows tells refused ports in its own way")
    with plain() as free:
        address = free.getsockname()
    client = loop.run_until_complete(endpoint(Interrupting(), remote_addr=address))
    client.transport.sendto(b"to nobody")
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(asyncio.sleep(5))

    async def rest() -> None:
        client.transport.sendto(b"to nobody")
        await until(lambda: len(client.errors) == 2)
        await end(client)

    run(loop, rest())


@pytest.mark.posix
def test_e10_a_fork_in_the_middle_of_a_batch_sends_nothing_twice(loop: Loop) -> None:
    """What was collected until then is the parent's to send."""

    class Forking(Echo):
        child = -1

        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            if data == b"2":
                self.child = os.fork()
                if self.child == 0:
                    raise SystemExit

    server = loop.run_until_complete(endpoint(Forking()))
    with plain(connect=name_of(server)) as peer:
        for data in numbers(6):
            peer.send(data)
        try:
            run(loop, until_answered(server, 6))
        except BaseException:
            if server.child == 0:
                os._exit(0)
            raise
        assert os.waitpid(server.child, 0)[1] == 0
        run(loop, turns(1))
        assert drain(peer) == numbers(6)
    run(loop, end(server))


async def until_answered(server: Listener, count: int) -> None:
    """Wait until the protocol has been given so many datagrams."""
    await until(lambda: len(server.got) == count)


def test_an_endpoint_survives_the_loop_between_two_runs(both: Loop) -> None:
    server = run(both, endpoint(Echo()))
    with plain(connect=name_of(server)) as peer:
        for data in numbers(20):
            peer.send(data)
        server.transport.sendto(b"from outside", peer.getsockname())
        assert drain(peer) == [b"from outside"]

        async def main() -> None:
            await until(lambda: len(server.got) == 20)
            await turns(1)
            assert drain(peer) == numbers(20)
            await end(server)

        run(both, main())


def test_an_abandoned_endpoint_warns_and_closes(both: Loop) -> None:
    async def main() -> Any:
        transport, _ = await both.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(HOST, 0)
        )
        transport.pause_reading()  # type: ignore[attr-defined] # asyncio's has it too
        await turns(2)
        return transport

    transport = run(both, main())
    number = transport.get_extra_info("socket").fileno()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        gc.collect()
    texts = [str(warning.message) for warning in caught]
    assert any(text.startswith("unclosed transport <") for text in texts)
    assert not is_open(number)


def test_a_tasks_first_step_comes_before_earlier_news(both: Loop) -> None:
    """What was scheduled before the poll runs before the protocol is told, as in asyncio."""

    async def main() -> Any:
        return await endpoint()

    server = run(both, main())
    with plain(connect=name_of(server)) as peer:
        peer.send(b"early")

        async def first_step() -> None:
            server.events.append("step")
            await until(lambda: server.got)
            await end(server)

        both.run_until_complete(first_step())  # wait_for would put a task of its own in front
    assert server.events == ["made", "step", b"early", "lost"]
