"""send_segments and set_receive_coalescing: one call for many datagrams, and nobody sees it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from typing import Any

import pytest

from noria.native.datagrams import Endpoint
from noria.transports import datagram_sender
from tests.datagrams import (
    HOST,
    Listener,
    arrivals,
    drain,
    end,
    endpoint,
    name_of,
    plain,
    unix_pair,
)
from tests.loops import run, turns, until

Loop = asyncio.AbstractEventLoop
LINUX = sys.platform.startswith("linux")


def cut(data: bytes, size: int) -> list[bytes]:
    """What is to arrive."""
    return [data[start : start + size] for start in range(0, len(data), size)]


class Unable(Endpoint):
    """The calls on a socket of a kernel that neither cuts nor coalesces datagrams."""

    def can_segment(self, fd: int, sock: Any) -> bool:
        return False

    def coalesce(self, fd: int, sock: Any, enabled: bool) -> int:
        return -errno.ENOPROTOOPT


class Refusing(Endpoint):
    """Those of a kernel that could cut, and refuses what it is asked for."""

    def can_segment(self, fd: int, sock: Any) -> bool:
        return True

    def send_segments(self, *args: Any) -> int:
        asked.append(args[3:6])
        return -refusals[0]


asked: list[tuple[int, int, int]] = []
"""What a Refusing one was asked to send: where it starts, how much, in which pieces."""

refusals: list[int] = []
"""What it answers."""


@pytest.fixture(params=["kernel", "fallback"])
def cutting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the kernel cuts, or has to be done without."""
    if request.param == "fallback":
        monkeypatch.setattr(datagram_sender, "make_endpoint", Unable)
    elif not LINUX:
        pytest.skip("UDP_SEGMENT is Linux")
    return str(request.param)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize(
    ("size", "segment"),
    [(1, 1), (1000, 1000), (1000, 1001), (1001, 1000), (10_000, 1200), (200_000, 1400), (90, 1)],
)
def test_every_datagram_arrives(
    loop: Loop, cutting: str, kind: Any, size: int, segment: int
) -> None:
    async def main() -> None:
        with plain() as peer:
            made = await endpoint()
            data = os.urandom(size)
            made.transport.send_segments(kind(data), segment, peer.getsockname())
            found = await arrivals(peer, len(cut(data, segment)))
            assert found == cut(data, segment)
            assert not made.errors
            await end(made)

    run(loop, main())


def test_whether_the_kernel_cuts_is_told(loop: Loop, cutting: str) -> None:
    async def main() -> None:
        made = await endpoint()
        assert made.transport.can_segment() is (cutting == "kernel")
        await end(made)

    run(loop, main())


@pytest.mark.parametrize(
    ("number", "remembered"),
    [
        (errno.EIO, True),
        (errno.EINVAL, False),
        (errno.EMSGSIZE, False),
        (errno.EOPNOTSUPP, False),
        (errno.EAGAIN, False),
    ],
)
def test_a_kernel_that_refuses_to_cut_is_done_without(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, number: int, *, remembered: bool
) -> None:
    """EIO says that the interface makes no checksums: then it is not asked again."""
    monkeypatch.setattr(datagram_sender, "make_endpoint", Refusing)
    asked.clear()
    refusals[:] = [number]

    async def main() -> None:
        with plain() as peer:
            made = await endpoint()
            data = os.urandom(5000)
            assert made.transport.can_segment()
            made.transport.send_segments(data, 1200, peer.getsockname())
            assert asked == [(0, 5000, 1200)]
            made.transport.send_segments(data, 1000, peer.getsockname())
            assert len(asked) == (1 if remembered else 2)
            assert made.transport.can_segment() is not remembered
            expected = cut(data, 1200) + cut(data, 1000)
            assert await arrivals(peer, len(expected)) == expected
            assert not made.errors
            await end(made)

    run(loop, main())


def test_an_error_of_the_cut_datagrams_is_told_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagram_sender, "make_endpoint", Refusing)
    asked.clear()
    refusals[:] = [errno.ENETUNREACH]

    async def main() -> None:
        with plain() as peer:
            made = await endpoint()
            made.transport.send_segments(bytes(5000), 1200, peer.getsockname())
            (error,) = made.errors
            assert error.errno == errno.ENETUNREACH
            assert len(asked) == 1
            assert drain(peer) == []
            await end(made)

    run(loop, main())


def test_on_connected_endpoints_and_by_name(loop: Loop) -> None:
    async def main() -> None:
        with plain() as peer:
            made = await endpoint(remote_addr=peer.getsockname())
            other = await endpoint()
            made.transport.send_segments(b"abcdef", 2)
            made.transport.send_segments(b"ghi", 2, peer.getsockname())
            with pytest.raises(ValueError, match="Invalid address"):
                made.transport.send_segments(b"jkl", 2, (HOST, 1))
            other.transport.send_segments(b"mno", 2, ("localhost", peer.getsockname()[1]))
            assert drain(peer) == [b"ab", b"cd", b"ef", b"gh", b"i", b"mn", b"o"]
            await end(made, other)

    run(loop, main())


@pytest.mark.parametrize("segment", [0, -1])
def test_a_length_that_is_none(loop: Loop, segment: int) -> None:
    async def main() -> None:
        made = await endpoint()
        with pytest.raises(ValueError, match="segment_bytes must be positive"):
            made.transport.send_segments(b"data", segment, (HOST, 1))
        with pytest.raises(TypeError, match="bytes-like"):
            made.transport.send_segments("text", 5, (HOST, 1))
        made.transport.send_segments(b"", 5, (HOST, 1))
        await end(made)

    run(loop, main())


@pytest.mark.posix
def test_on_sockets_that_know_nothing_of_it(loop: Loop) -> None:
    async def main() -> None:
        left, right = unix_pair()
        made = await endpoint(sock=left)
        assert not made.transport.can_segment()
        assert made.transport.set_receive_coalescing(True) is False
        made.transport.send_segments(bytes(100), 2)
        found = await arrivals(right, 50)
        assert found == [b"\0\0"] * 50
        await end(made)
        right.close()

    run(loop, main())


def test_within_a_batch_the_order_is_kept(loop: Loop) -> None:
    class Answering(Listener):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.sendto(b"<", addr)
            self.transport.send_segments(data * 4, len(data), addr)
            self.transport.sendto(b">", addr)

    async def main() -> None:
        server = await endpoint(Answering())
        with plain(connect=name_of(server)) as peer:
            for data in (b"one", b"two", b"three"):
                peer.send(data)
            await until(lambda: len(server.got) == 3)
            await turns(1)
            assert drain(peer) == [
                part for data in (b"one", b"two", b"three") for part in (b"<", *[data] * 4, b">")
            ]
        await end(server)

    run(loop, main())


def test_after_the_end_it_is_dropped(loop: Loop) -> None:
    async def main() -> None:
        with plain() as peer:
            made = await endpoint(remote_addr=peer.getsockname())
            await end(made)
            made.transport.send_segments(b"abcdef", 2)
            assert made.transport.set_receive_coalescing(True) is False
            assert drain(peer) == []

    run(loop, main())


def test_coalescing_is_invisible(loop: Loop, cutting: str) -> None:
    async def main() -> None:
        receiver = await endpoint()
        on = receiver.transport.set_receive_coalescing(True)
        if cutting == "fallback":
            assert on is False
        receiver.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000
        )
        sender = await endpoint(remote_addr=name_of(receiver))
        data = os.urandom(100_000)
        expected = []
        for segment in (1400, 100, 1000):
            sender.transport.send_segments(data[: segment * 50 + 7], segment)
            expected += cut(data[: segment * 50 + 7], segment)
        sender.transport.sendto(b"alone")
        expected.append(b"alone")
        await until(lambda: len(receiver.got) >= len(expected))
        assert receiver.data == expected
        assert {addr for _, addr in receiver.got} == {name_of(sender)}
        assert receiver.transport.set_receive_coalescing(False) is False
        sender.transport.send_segments(data[:3000], 1000)
        await until(lambda: len(receiver.got) == len(expected) + 3)
        await end(receiver, sender)

    run(loop, main())
