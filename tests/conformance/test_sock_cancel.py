"""Cancelling a sock_* method at any moment loses no byte, no datagram and no connection (D3)."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import Any

import pytest

from tests.loops import pattern, run, socket_pair, turns, until

CANCELS = 10_000
"""Cancelled receives in the byte counter test, over all engines."""


async def cancel(task: asyncio.Future[Any]) -> bool:
    """Cancel a task and wait for its end; whether it was in time."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


@pytest.mark.parametrize("into", [False, True])
def test_d3_cancelled_receives_against_a_byte_counter(
    both: asyncio.AbstractEventLoop, into: bool
) -> None:
    """Bytes arrive before, while and after a receive is cancelled; every one is received once."""
    seeded = random.Random(3)
    rounds = CANCELS // 8

    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        right.setblocking(False)
        sent = pattern(4 * rounds)
        found = bytearray()
        memory = bytearray(64)
        done = cancelled = 0

        async def receive() -> None:
            # No await between the result and its keeping: what was received is not lost by us.
            if into:
                count = await both.sock_recv_into(left, memory)
                found.extend(memory[:count])
            else:
                found.extend(await both.sock_recv(left, seeded.randint(1, 64)))

        for _ in range(rounds):
            task = asyncio.ensure_future(receive())
            moment = seeded.randrange(5)
            if moment == 0:
                await asyncio.sleep(0)
            elif moment == 1:
                await turns(1)
            if seeded.random() < 0.5:
                done += right.send(sent[done : done + seeded.randint(1, 8)])
            if moment == 2:
                await asyncio.sleep(0)
            elif moment == 3:
                both.call_soon(task.cancel)
                await asyncio.sleep(0)
            cancelled += await cancel(task)
        right.close()
        while data := await both.sock_recv(left, 100):
            found += data
        left.close()
        assert found == sent[:done]
        assert cancelled > rounds // 4

    run(both, main())


def test_d3_cancelled_sends_do_not_double_or_reorder(both: asyncio.AbstractEventLoop) -> None:
    """What a cancelled sock_sendall has sent is unknown, but it is a beginning of the data."""

    async def main() -> None:
        for seed in range(20):
            left, right = socket_pair()
            left.setblocking(False)
            right.setblocking(False)
            data = pattern(1_000_000, seed)
            task = asyncio.ensure_future(both.sock_sendall(left, data))
            await turns(1)
            found = bytearray()
            for _ in range(seed % 4):
                found += await both.sock_recv(right, 30_000)
            assert await cancel(task)
            left.close()
            while piece := await both.sock_recv(right, 1 << 20):
                found += piece
            right.close()
            assert found == data[: len(found)]
            assert 0 < len(found) < len(data)

    run(both, main())


def test_d3_cancelled_datagrams_stay_whole(both: asyncio.AbstractEventLoop) -> None:
    seeded = random.Random(4)

    async def main() -> None:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        two = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with one, two:
            for sock in (one, two):
                sock.bind(("127.0.0.1", 0))
                sock.setblocking(False)
            address = one.getsockname()
            found: list[bytes] = []

            async def receive() -> None:
                data, _ = await both.sock_recvfrom(one, 100)
                found.append(data)

            count = 0
            for _ in range(300):
                task = asyncio.ensure_future(receive())
                if seeded.random() < 0.5:
                    await turns(1)
                if seeded.random() < 0.7:
                    two.sendto(b"datagram %d" % count, address)
                    count += 1
                if seeded.random() < 0.5:
                    await asyncio.sleep(0)
                await cancel(task)
            while len(found) < count:
                await receive()
            assert found == [b"datagram %d" % number for number in range(count)]

    run(both, main())


def test_d3_cancelled_accepts_lose_no_connection(loop: asyncio.AbstractEventLoop) -> None:
    """Not held against asyncio, which loses some."""

    seeded = random.Random(5)

    async def main() -> None:
        accepted: list[socket.socket] = []
        clients: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
            listener.setblocking(False)

            async def accept() -> None:
                sock, _ = await loop.sock_accept(listener)
                accepted.append(sock)

            for _ in range(200):
                task = asyncio.ensure_future(accept())
                if seeded.random() < 0.5:
                    await turns(1)
                if seeded.random() < 0.5:
                    clients.append(socket.create_connection(listener.getsockname()))
                if seeded.random() < 0.5:
                    await asyncio.sleep(0)
                await cancel(task)
            while len(accepted) < len(clients):
                await accept()
            names = {sock.getpeername() for sock in accepted}
            assert names == {sock.getsockname() for sock in clients}
        for sock in accepted + clients:
            sock.close()

    run(loop, main())


def test_cancelled_connects_leave_the_socket_to_the_user(
    both: asyncio.AbstractEventLoop,
) -> None:
    async def main() -> None:
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
            cancelled = 0
            for _ in range(30):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                task = asyncio.ensure_future(both.sock_connect(sock, listener.getsockname()))
                await turns(1)
                if not task.done():
                    cancelled += await cancel(task)
                assert sock.fileno() >= 0
            assert cancelled > 10, "the backlog should have been full"

    run(both, main())


def test_a_wait_that_is_cancelled_and_ready_in_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    """The readiness is already on its way to the coroutine when it is cancelled."""

    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            for number in range(200):
                task = asyncio.ensure_future(loop.sock_recv(left, 10))
                await asyncio.sleep(0)
                right.send(b"x")
                loop.call_later(0, task.cancel)
                try:
                    data = await task
                except asyncio.CancelledError:
                    data = await loop.sock_recv(left, 10)
                assert data == b"x", number

    run(loop, main())


def test_a_timeout_of_a_receive(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        left.setblocking(False)
        with left, right:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(both.sock_recv(left, 10), 0.002)
            right.send(b"x")
            assert await asyncio.wait_for(both.sock_recv(left, 10), 5) == b"x"

    run(both, main())


def test_many_sockets_are_cancelled_at_once(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(100)]
        for left, _ in pairs:
            left.setblocking(False)
        tasks = [asyncio.ensure_future(both.sock_recv(left, 10)) for left, _ in pairs]
        await turns(2)
        for task in tasks:
            task.cancel()
        for number, (_, right) in enumerate(pairs):
            right.send(b"%d" % number)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        found = await asyncio.gather(*(both.sock_recv(left, 10) for left, _ in pairs))
        assert found == [b"%d" % number for number in range(100)]
        for left, right in pairs:
            left.close()
            right.close()

    run(both, main())


def test_a_future_left_alone_is_not_touched_by_close(loop: Any) -> None:
    """Closing a loop on which somebody waits resolves nothing and leaks nothing."""
    left, right = socket.socketpair()
    left.setblocking(False)
    with left, right:
        coroutine = loop.sock_recv(left, 10)
        task = loop.create_task(coroutine)
        run(loop, turns(2))
        assert not task.done()
        assert loop._engine.statistics().in_flight == 1
        loop.close()
        assert loop._engine.statistics().in_flight == 0
        assert not task.done()
        task._log_destroy_pending = False
        coroutine.close()
        right.send(b"x")
        assert left.recv(10) == b"x"


def test_every_waiter_is_woken_when_data_comes(both: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(100)]
        for left, _ in pairs:
            left.setblocking(False)
        tasks = [asyncio.ensure_future(both.sock_recv(left, 10)) for left, _ in pairs]
        await turns(1)
        for _, right in pairs:
            right.send(b"x")
        await until(lambda: all(task.done() for task in tasks))
        assert [task.result() for task in tasks] == [b"x"] * 100
        for left, right in pairs:
            left.close()
            right.close()

    run(both, main())
