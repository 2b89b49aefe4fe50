"""T4 and T5: half-close, close, abort, loss; connection_lost once, then the descriptor closes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
import warnings
from typing import Any

import pytest

from tests.loops import (
    POSIX,
    Recorder,
    Reports,
    Wire,
    end,
    is_open,
    reset,
    run,
    tells_resets,
    turns,
    until,
    wire,
)


def number_of(one: Wire) -> int:
    """Descriptor number of a transport."""
    number: int = one.transport.get_extra_info("socket").fileno()
    return number


@pytest.mark.parametrize("keep_open", [False, None, True])
def test_t5_the_end_of_the_stream(both: asyncio.AbstractEventLoop, keep_open: Any) -> None:
    """A false answer of eof_received closes; a true one leaves the other direction open."""

    async def main() -> None:
        one = await wire()
        one.protocol.keep_open = keep_open
        one.peer.send(b"last words")
        one.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in one.protocol.told)
        assert one.protocol.data == b"last words"
        await turns()
        if keep_open:
            assert one.protocol.told == ["made", "eof"]
            assert not one.transport.is_closing()
            one.transport.write(b"answer")
            assert await one.take(6) == b"answer"
            one.transport.close()
        assert await one.take_some(10) == b""
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "eof", "lost"]
        await end(one)

    run(both, main())


def test_t5_after_the_end_pausing_and_resuming_is_nothing(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        one.protocol.keep_open = True
        one.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in one.protocol.told)
        one.transport.pause_reading()
        await turns(2)
        if not isinstance(both, asyncio.SelectorEventLoop):  # asyncio tells the end again
            one.transport.resume_reading()
            await turns(2)
        assert one.protocol.told == ["made", "eof"]
        await end(one)

    run(both, main())


def test_t5_half_closed_connections_do_not_spin(loop: Any) -> None:
    async def main() -> None:
        kept = await wire(tcp=True)
        kept.protocol.keep_open = True
        kept.peer.shutdown(socket.SHUT_WR)
        paused = await wire(tcp=True)
        paused.transport.pause_reading()
        paused.peer.close()
        dead = await wire(tcp=True)
        dead.transport.pause_reading()
        reset(dead.peer)
        await until(lambda: "eof" in kept.protocol.told)
        await turns(2)
        before = loop._engine.statistics().waits
        await asyncio.sleep(0.05)
        assert loop._engine.statistics().waits - before < 20
        await end(kept, paused, dead)

    run(loop, main())


def test_t4_an_error_in_eof_received_ends_that_connection(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    class Failing(Recorder):
        def eof_received(self) -> bool:
            super().eof_received()
            raise ValueError("of the user")

    async def main() -> None:
        one = await wire(Failing())
        one.peer.shutdown(socket.SHUT_WR)
        exception = await one.protocol.ended()
        report = reports.take_one()
        assert report["message"] == "Fatal error: protocol.eof_received() call failed."
        assert report["exception"] is exception
        assert one.protocol.told == ["made", "eof", "lost"]
        await end(one)

    run(both, main())


def test_t4_an_error_in_connection_lost_is_reported_and_the_descriptor_closed(
    both: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    class Failing(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise ValueError("of the user")

    async def main() -> None:
        one = await wire(Failing())
        number = number_of(one)
        one.transport.close()
        await until(lambda: reports)
        assert isinstance(reports.take_one()["exception"], ValueError)
        assert one.peer.recv(1) == b""
        assert not is_open(number)
        await end(one)
        assert one.protocol.told == ["made", "lost"]

    run(both, main())


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_t5_close_sends_what_is_buffered(both: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(size))
        one.transport.close()
        one.transport.close()
        assert one.transport.is_closing()
        assert one.protocol.told[-1] != "lost", "called out of close()"
        assert len(await one.take_all()) == size
        assert await one.protocol.ended() is None
        assert one.protocol.told.count("lost") == 1
        await end(one)

    run(both, main())


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_t5_abort_drops_what_is_buffered(both: asyncio.AbstractEventLoop, size: int) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(size))
        one.transport.abort()
        one.transport.abort()
        one.transport.close()
        assert one.transport.get_write_buffer_size() == 0
        assert one.protocol.told[-1] != "lost", "called out of abort()"
        assert await one.protocol.ended() is None
        found = await one.take_all()
        assert len(found) < size or not size
        assert one.protocol.told.count("lost") == 1
        await end(one)

    run(both, main())


def test_t5_abort_after_close_drops_what_close_waits_for(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(3_000_000))
        one.transport.close()
        await turns(2)
        assert "lost" not in one.protocol.told
        one.transport.abort()
        assert await one.protocol.ended() is None
        assert len(await one.take_all()) < 3_000_000
        assert one.protocol.told == ["made", "pause", "lost"]
        await end(one)

    run(both, main())


def test_t5_nothing_is_received_after_close(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(3_000_000))
        one.transport.close()
        one.peer.send(b"too late")
        await turns()
        assert one.protocol.data == b""
        one.peer.shutdown(socket.SHUT_WR)
        await turns()
        assert "eof" not in one.protocol.told
        if POSIX:
            await one.take(3_000_000)
        else:  # closing a TCP connection with bytes unread resets it, and what is under way is lost
            with contextlib.suppress(ConnectionError):
                await one.take_all()
        await one.protocol.ended()
        await end(one)

    run(both, main())


@pytest.mark.parametrize("method", ["data_received", "eof_received", "connection_made"])
@pytest.mark.parametrize("action", ["close", "abort"])
def test_t5_protocol_methods_end_their_own_connection(
    both: asyncio.AbstractEventLoop, method: str, action: str
) -> None:
    def ending(self: Any, *args: Any) -> Any:
        result = getattr(super(type(self), self), method)(*args)
        getattr(self.transport, action)()
        return result

    async def main() -> None:
        one = await wire(type("Ending", (Recorder,), {method: ending})())
        if method != "connection_made":
            one.peer.send(b"x")
            one.peer.shutdown(socket.SHUT_WR)
        await one.protocol.ended()
        await turns()
        assert one.protocol.told.count("lost") == 1
        assert one.protocol.told[-1] == "lost"
        assert await one.take_some(1) == b""
        await end(one)

    run(both, main())


def test_t5_the_descriptor_is_open_until_connection_lost_returns(
    both: asyncio.AbstractEventLoop,
) -> None:
    class Checking(Recorder):
        was_open: bool | None = None
        number = -1

        def connection_lost(self, exc: BaseException | None) -> None:
            self.was_open = is_open(self.number)
            super().connection_lost(exc)

    async def main() -> None:
        one = await wire(Checking())
        one.protocol.number = number_of(one)
        one.transport.close()
        await one.protocol.ended()
        assert one.protocol.was_open
        await turns(1)
        assert not is_open(one.protocol.number)
        await end(one)

    run(both, main())


@tells_resets
def test_t5_a_reset_connection(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire(tcp=True)
        reset(one.peer)
        assert isinstance(await one.protocol.ended(), ConnectionResetError)
        assert one.protocol.told == ["made", "lost"]
        await end(one)

    run(both, main())


@pytest.mark.parametrize("size", [0, 3_000_000])
def test_t5_write_eof_ends_the_stream_and_reading_goes_on(
    both: asyncio.AbstractEventLoop, size: int
) -> None:
    async def main() -> None:
        one = await wire()
        assert one.transport.can_write_eof()
        one.transport.write(bytes(size))
        one.transport.write_eof()
        one.transport.write_eof()
        for attempt in (
            lambda: one.transport.write(b"x"),
            lambda: one.transport.writelines([b"x"]),
        ):
            with pytest.raises(RuntimeError, match="after write_eof"):
                attempt()  # type: ignore[no-untyped-call] # a lambda
        assert len(await one.take_all()) == size
        one.peer.send(b"still heard")
        await until(lambda: one.protocol.data == b"still heard")
        assert "lost" not in one.protocol.told
        one.transport.close()
        assert await one.protocol.ended() is None
        await end(one)

    run(both, main())


def test_t5_write_eof_and_close_while_something_waits(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.write(bytes(3_000_000))
        one.transport.write_eof()
        one.transport.close()
        assert len(await one.take_all()) == 3_000_000
        assert await one.protocol.ended() is None
        await end(one)

    run(both, main())


def test_t5_write_eof_of_both_ends(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.protocol.keep_open = True
        one.transport.write_eof()
        one.peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in one.protocol.told)
        await turns()
        assert one.protocol.told == ["made", "eof"]
        await end(one)
        assert one.protocol.told == ["made", "eof", "lost"]

    run(both, main())


@tells_resets
def test_t5_write_eof_after_the_peer_has_gone(both: asyncio.AbstractEventLoop) -> None:
    """It has to raise what shutdown(2) says, or nothing; never break the transport."""

    async def main() -> None:
        one = await wire(tcp=True)
        one.transport.pause_reading()
        reset(one.peer)
        await turns()
        with pytest.raises(OSError, match="not connected" if POSIX else "WinError"):
            one.transport.write_eof()
        one.transport.abort()
        await one.protocol.ended()
        await end(one)

    run(both, main())


def test_t5_close_in_the_turn_of_its_news(both: asyncio.AbstractEventLoop) -> None:
    """Several connections have news in one turn; the first closes all others."""
    wires: list[Wire] = []

    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            assert not self.transport.is_closing(), "news after close()"
            super().data_received(data)
            for other in wires:
                if other.protocol is not self:
                    other.transport.close()

    async def main() -> None:
        wires.extend([await wire(Closing()) for _ in range(6)])
        for one in wires:
            one.peer.send(b"x")
        await until(lambda: sum("lost" in one.protocol.told for one in wires) == 5)
        await turns()
        assert sum(bool(one.protocol.data) for one in wires) == 1
        await end(*wires)

    run(both, main())


def test_t5_a_transport_survives_the_loop_between_two_runs(
    both: asyncio.AbstractEventLoop,
) -> None:
    one = run(both, wire())
    one.peer.send(b"while it does not run")
    one.transport.write(b"from outside")
    assert one.peer.recv(100) == b"from outside"
    one.transport.close()

    async def main() -> None:
        await one.protocol.ended()
        await end(one)

    run(both, main())
    assert one.protocol.told == ["made", "lost"]


def abandoned(caught: list[warnings.WarningMessage]) -> list[str]:
    """Messages of the ResourceWarnings about transports."""
    return [
        str(warning.message)
        for warning in caught
        if issubclass(warning.category, ResourceWarning) and "transport" in str(warning.message)
    ]


def test_an_abandoned_transport_warns_and_closes(both: asyncio.AbstractEventLoop) -> None:
    """One that is paused, that is: what is read from is kept alive by the loop."""

    async def main() -> tuple[Wire, int]:
        one = await wire(asyncio.Protocol())
        one.transport.pause_reading()
        await turns(2)
        return one, number_of(one)

    one, number = run(both, main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.transport = None
        gc.collect()
    (message,) = abandoned(caught)
    assert message.startswith("unclosed transport <")
    assert f"fd={number}" in message
    assert not is_open(number)
    assert one.peer.recv(1) == b""
    one.peer.close()


def test_an_abandoned_transport_that_another_thread_collects(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> Wire:
        one = await wire(asyncio.Protocol())
        one.transport.pause_reading()
        await turns(2)
        return one

    one = run(loop, main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.transport = None
        thread = threading.Thread(target=gc.collect)
        thread.start()
        thread.join()
    assert len(abandoned(caught)) == 1
    assert one.peer.recv(1) == b""
    one.peer.close()
    run(loop, turns())


def test_a_transport_of_a_closed_loop_warns_and_closes(both: asyncio.AbstractEventLoop) -> None:
    one = run(both, wire())
    one.protocol.transport = None
    number = number_of(one)
    both.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.transport = one.protocol = None
        gc.collect()
    assert len(abandoned(caught)) == 1
    assert not is_open(number)
    one.peer.close()


def test_a_closed_transport_does_not_warn(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await wire()
        one.transport.close()
        await one.protocol.ended()
        await end(one)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(both, main())
        gc.collect()


def test_closing_after_the_loop_is_closed(both: asyncio.AbstractEventLoop) -> None:
    one = run(both, wire())
    both.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        one.transport.close()
    one.peer.close()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one.transport = one.protocol = None
        gc.collect()
    assert len(abandoned(caught)) == 1


@tells_resets
def test_an_oserror_is_logged_in_debug_mode_only(
    both: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """A lost connection is nothing to report."""

    async def lose() -> None:
        one = await wire(tcp=True)
        reset(one.peer)
        await one.protocol.ended()
        await end(one)

    with caplog.at_level(logging.DEBUG, "asyncio"):
        run(both, lose())
        assert not [record for record in caplog.records if "Fatal" in record.getMessage()]
        both.set_debug(True)
        both.slow_callback_duration = 100
        run(both, lose())
        assert [record for record in caplog.records if "Fatal read error" in record.getMessage()]
