"""How TLS connections end: in good order, by the peer, by errors, and aborted in every state."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
from typing import Any

import pytest

from tests.conformance.test_tls_data import Sized, each_side, each_version
from tests.loops import BROKEN, Recorder, Reports, pattern, run, turns, until
from tests.tls import Secure, finish, secure

EOF_HAS_NO_EFFECT = "returning true from eof_received() has no effect when using ssl"


# -- closing here -----------------------------------------------------------------------------


@each_version
@each_side
def test_close_sends_everything_and_close_notify(
    both: asyncio.AbstractEventLoop, version: ssl.TLSVersion, server_side: bool
) -> None:
    async def main() -> None:
        one = await secure(version=version, server_side=server_side, tcp=True)
        data = pattern(3_000_000)
        one.transport.write(data)
        one.transport.close()
        assert one.transport.is_closing()
        one.transport.close()
        assert await one.peer.take_all() == data
        assert "lost" not in one.protocol.told
        await one.peer.notify()
        assert await one.protocol.ended() is None
        assert one.protocol.told[-1] == "lost"
        assert one.protocol.told.count("lost") == 1
        await one.peer.end_of_stream()
        await finish(one)

    run(both, main())


def test_writing_is_shut_down_with_close(loop: asyncio.AbstractEventLoop) -> None:
    """A peer that knows nothing of close_notify sees the end all the same."""

    async def main() -> None:
        one = await secure(tcp=True)
        one.transport.write(b"last words")
        one.transport.close()
        await one.peer.end_of_stream()
        assert await one.peer.take_all() == b"last words"
        one.peer.sock.close()
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("paused", [False, True])
def test_nothing_is_delivered_after_close(loop: asyncio.AbstractEventLoop, paused: bool) -> None:
    async def main() -> None:
        one = await secure(tcp=True)
        if paused:
            one.transport.pause_reading()
        await one.peer.write(pattern(100_000))
        if not paused:
            await until(lambda: len(one.protocol.data) == 100_000)
        before = len(one.protocol.events)
        one.transport.close()
        await one.peer.write(pattern(500_000))
        assert await one.peer.read() == b""
        await one.peer.notify()
        assert await one.protocol.ended() is None
        assert one.protocol.events[before:] == ["lost"]
        await finish(one)

    run(loop, main())


def test_closing_does_not_reset_what_was_sent(loop: asyncio.AbstractEventLoop) -> None:
    """The peer writes and writes before it reads; a reset would cost it our last words."""

    async def main() -> None:
        one = await secure(tcp=True)
        data = pattern(50_000)
        one.transport.write(data)
        one.transport.close()
        for _ in range(20):
            await one.peer.write(pattern(20_000))
            await turns(1)
        assert await one.peer.take_all() == data
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


def test_close_inside_data_received_ends_the_delivery(loop: asyncio.AbstractEventLoop) -> None:
    class Once(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    async def main() -> None:
        one = await secure(Once())
        await one.peer.write(pattern(400_000))
        assert await one.peer.read() == b""
        assert len(one.protocol.chunks) == 1
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


def test_close_with_half_a_record_in_hand(loop: asyncio.AbstractEventLoop) -> None:
    class Small(Sized):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            self.transport.close()

    async def main() -> None:
        one = await secure(Small(100))
        await one.peer.write(pattern(10_000))
        assert await one.peer.read() == b""
        assert len(one.protocol.data) == 100
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("reads", [False, True])
def test_a_peer_that_never_answers_is_given_up(
    both: asyncio.AbstractEventLoop, reads: bool
) -> None:
    async def main() -> None:
        one = await secure(shutdown=0.05)
        if not reads:
            one.transport.write(pattern(5_000_000))
        one.transport.close()
        exc = await one.protocol.ended()
        assert isinstance(exc, TimeoutError)
        assert str(exc) == "SSL shutdown timed out"
        await finish(one)

    run(both, main())


def test_writing_after_close_does_nothing(
    both: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = await secure()
        one.transport.close()
        for _ in range(10):
            one.transport.write(b"too late")
            one.transport.writelines([b"too", b"late"])
        assert await one.peer.take_all() == b""
        await one.peer.notify()
        assert await one.protocol.ended() is None
        one.transport.write(b"much too late")
        await finish(one)

    with caplog.at_level("WARNING", "asyncio"):
        run(both, main())
    assert "SSL connection is closed" in caplog.text


def test_pausing_and_resuming_after_the_end(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        one.transport.close()
        one.transport.pause_reading()
        one.transport.resume_reading()
        await one.peer.notify()
        assert await one.protocol.ended() is None
        one.transport.pause_reading()
        one.transport.resume_reading()
        one.transport.set_write_buffer_limits(high=10)
        assert one.transport.get_write_buffer_size() == 0
        assert one.transport.get_protocol() is None
        one.transport.close()
        one.transport.abort()
        await finish(one)

    run(loop, main())


# -- closing there ----------------------------------------------------------------------------


@each_version
def test_close_notify_is_the_end_of_the_stream(
    both: asyncio.AbstractEventLoop, version: ssl.TLSVersion
) -> None:
    async def main() -> None:
        one = await secure(version=version)
        await one.peer.send_raw(one.peer.encrypted(b"last words"))
        await one.peer.notify()
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "eof", "lost"]
        assert one.protocol.data == b"last words"
        assert await one.peer.read() == b""  # its close_notify in turn
        await finish(one)

    run(both, main())


def test_there_is_no_half_close(
    both: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        one = await secure()
        one.protocol.keep_open = True
        await one.peer.notify()
        assert await one.protocol.ended() is None
        await finish(one)

    with caplog.at_level("WARNING", "asyncio"):
        run(both, main())
    assert EOF_HAS_NO_EFFECT in caplog.text


def test_what_eof_received_writes_is_sent(both: asyncio.AbstractEventLoop) -> None:
    class Answering(Recorder):
        def eof_received(self) -> bool:
            self.transport.write(b"answer")
            return super().eof_received()

    async def main() -> None:
        one = await secure(Answering())
        await one.peer.notify()
        assert await one.peer.take_all() == b"answer"
        assert await one.protocol.ended() is None
        await finish(one)

    run(both, main())


@pytest.mark.parametrize("how", ["notify", "end"])
def test_what_waits_is_sent_when_the_peer_ends(loop: asyncio.AbstractEventLoop, how: str) -> None:
    """asyncio loses it when the peer ends the stream without close_notify."""

    async def main() -> None:
        one = await secure(tcp=True)
        data = pattern(5_000_000)
        one.transport.write(data)
        assert one.transport.get_write_buffer_size() > 100_000
        if how == "notify":
            await one.peer.notify()
        else:
            one.peer.sock.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in one.protocol.told)
        assert await one.peer.take(len(data)) == data
        assert await one.protocol.ended() is None
        await finish(one)

    run(loop, main())


def test_the_end_of_the_stream_without_close_notify(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure()
        await one.peer.send_raw(one.peer.encrypted(b"last words"))
        one.peer.sock.shutdown(socket.SHUT_WR)
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "eof", "lost"]
        assert one.protocol.data == b"last words"
        await finish(one)

    run(both, main())


@pytest.mark.parametrize("how", ["notify", "end"])
def test_the_end_waits_for_a_paused_reader(loop: asyncio.AbstractEventLoop, how: str) -> None:
    async def main() -> None:
        class Pausing(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.pause_reading()

        one = await secure(Pausing())
        records = one.peer.encrypted(b"first") + one.peer.encrypted(pattern(300_000))
        if how == "notify":
            with pytest.raises(ssl.SSLWantReadError):
                one.peer.object.unwrap()
            records += one.peer.outgoing.read()
        sending = asyncio.ensure_future(one.peer.send_raw(records))
        await until(lambda: one.protocol.data)
        while not sending.done():
            one.transport.resume_reading()
            await turns(1)
        one.peer.sock.shutdown(socket.SHUT_WR)
        await turns()
        while len(one.protocol.data) < 300_005:
            before = len(one.protocol.chunks)
            await turns(2)
            assert len(one.protocol.chunks) == before
            assert "eof" not in one.protocol.told
            one.transport.resume_reading()
            await until(lambda n=before: len(one.protocol.chunks) > n)  # type: ignore[misc] # its default
        await turns(2)
        assert "eof" not in one.protocol.told
        one.transport.resume_reading()
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "eof", "lost"]
        assert one.protocol.data == b"first" + pattern(300_000)
        await finish(one)

    run(loop, main())


def test_a_reset(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        one = await secure(tcp=True)
        one.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        one.peer.sock.close()
        assert isinstance(await one.protocol.ended(), BROKEN)
        assert one.protocol.told == ["made", "lost"]
        await finish(one)

    run(both, main())


# -- aborting ---------------------------------------------------------------------------------


def _close(one: Secure) -> None:
    one.transport.close()


def _full(one: Secure) -> None:
    one.transport.write(pattern(5_000_000))


def _full_and_closing(one: Secure) -> None:
    _full(one)
    one.transport.close()


def _paused(one: Secure) -> None:
    one.transport.pause_reading()


@pytest.mark.parametrize("state", [lambda _: None, _close, _full, _full_and_closing, _paused])
def test_abort_in_every_state(both: asyncio.AbstractEventLoop, state: Any) -> None:
    async def main() -> None:
        one = await secure(tcp=True)
        state(one)
        await turns(1)
        one.transport.abort()
        one.transport.abort()
        assert one.transport.is_closing()
        assert "lost" not in one.protocol.told
        assert await one.protocol.ended() is None
        assert [word for word in one.protocol.told if word != "pause"] == ["made", "lost"]
        await finish(one)

    run(both, main())


def test_abort_inside_data_received(both: asyncio.AbstractEventLoop) -> None:
    class Aborting(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.abort()

    async def main() -> None:
        one = await secure(Aborting())
        await one.peer.write(pattern(200_000))
        assert await one.protocol.ended() is None
        assert one.protocol.told == ["made", "lost"]
        await finish(one)

    run(both, main())


# -- exceptions and contexts ------------------------------------------------------------------


class Failing(Recorder):
    """Fails in one method."""

    def __init__(self, method: str, exc: BaseException) -> None:
        super().__init__()
        self._failing = (method, exc)
        real = getattr(self, method)

        def fail(*args: Any) -> None:
            real(*args)
            raise exc

        setattr(self, method, fail)


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_t4_an_exception_ends_one_connection(
    loop: asyncio.AbstractEventLoop, reports: Reports, method: str
) -> None:
    async def main() -> None:
        exc = ZeroDivisionError("on purpose")
        one, other = await secure(Failing(method, exc)), await secure()
        await one.peer.send_raw(one.peer.encrypted(b"x"))
        await one.peer.notify()
        assert await one.protocol.ended() is exc
        report = reports.take_one()
        assert report["exception"] is exc
        assert f"{method}() call failed" in report["message"]
        assert report["transport"] is one.transport
        await other.peer.write(b"still here")
        await until(lambda: other.protocol.data == b"still here")
        await finish(one, other)

    run(loop, main())


def test_an_exception_in_connection_lost_is_reported(
    loop: asyncio.AbstractEventLoop, reports: Reports
) -> None:
    async def main() -> None:
        exc = ZeroDivisionError("on purpose")
        one = await secure(Failing("connection_lost", exc))
        one.transport.abort()
        await one.protocol.ended()
        await turns()
        assert reports.take_one()["exception"] is exc
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_exceptions_of_flow_control_are_reported(
    loop: asyncio.AbstractEventLoop, reports: Reports, method: str
) -> None:
    async def main() -> None:
        exc = ZeroDivisionError("on purpose")
        one = await secure(Failing(method, exc))
        data = pattern(3_000_000)
        one.transport.write(data)
        assert await one.peer.take(len(data)) == data
        await until(lambda: "resume" in one.protocol.told)
        report = reports.take_one()
        assert (report["exception"], report["message"]) == (exc, f"protocol.{method}() failed")
        assert not one.transport.is_closing()
        await finish(one)

    run(loop, main())


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_l4_an_interrupt_loses_nothing(loop: asyncio.AbstractEventLoop, method: str) -> None:
    class Interrupting(Recorder):
        calls = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if method == "data_received":
                self.calls += 1
                if self.calls == 1:
                    raise KeyboardInterrupt

        def eof_received(self) -> bool:
            super().eof_received()
            if method == "eof_received":
                raise KeyboardInterrupt
            return False

    made: list[Secure] = []

    async def begin() -> None:
        made.append(await secure(Interrupting()))

    run(loop, begin())
    one = made[0]
    data = pattern(600_000)

    async def feed() -> None:
        sending = asyncio.ensure_future(one.peer.write(data))
        await until(lambda: len(one.protocol.data) == len(data))
        await sending
        await one.peer.notify()
        await one.protocol.ended()

    task = loop.create_task(feed())
    interrupts = 0
    while not task.done():
        try:
            loop.run_until_complete(asyncio.wait({task}))
        except KeyboardInterrupt:
            interrupts += 1
    task.result()
    assert interrupts == 1
    assert one.protocol.data == data
    assert one.protocol.told == ["made", "eof", "lost"]
    run(loop, finish(one))


def test_l5_every_callback_runs_in_the_connection_s_context(
    loop: asyncio.AbstractEventLoop,
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    class Setting(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            variable.set(self.name)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.events.append(variable.get())

        def eof_received(self) -> bool:
            self.events.append(variable.get())
            return super().eof_received()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.events.append(variable.get())
            super().connection_lost(exc)

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    async def main() -> None:
        variable.set("outside")
        one, other = await secure(Setting("one")), await secure(Setting("other"))
        assert variable.get() == "outside"
        for each in (one, other):
            await each.peer.send_raw(each.peer.encrypted(b"x"))
            await each.peer.notify()
        for each in (one, other):
            await each.protocol.ended()
            name = each.protocol.name
            assert each.protocol.events == ["made", b"x", name, name, "eof", name, "lost"]
        await finish(one, other)

    run(loop, main())
