# cython: boundscheck=False, wraparound=False
"""DatagramSender: the sending half of a datagram transport.

Outside of a batch a datagram leaves before `sendto` returns. What the protocol sends while it is
given a batch is collected and leaves with one system call right behind the batch, or earlier if it
becomes much; order is kept. What the kernel does not take waits, and the protocol is paused (T3).
An error concerns one datagram: `error_received` is told, and the next one is sent.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Any, Final

from noria.core import codes
from noria.core.operation import IN_FLIGHT, Operation
from noria.errors import from_result
from noria.limits import (
    DATAGRAM_BYTES_COLLECTED_MAX,
    DATAGRAM_HEADER_BYTES,
    DATAGRAM_RETRY_SECONDS_MAX,
    DATAGRAM_RETRY_SECONDS_MIN,
    DATAGRAMS_COLLECTED_MAX,
    SEGMENTS_BYTES_MAX,
    SEGMENTS_MAX,
)
from noria.native import calls
from noria.native import sockets as native
from noria.native.datagrams import ByName, Endpoint
from noria.transports.reading import ReadingConnection

if TYPE_CHECKING:
    from noria.core.descriptor import Descriptor
    from noria.loop.handles import TimerHandle

SENDS_EMPTY: Final = sys.version_info >= (3, 13)
"""Since 3.13 asyncio sends empty datagrams, and counts a header with each that waits."""

# Names for the compiler, typed in the .pxd.
_WAIT_WRITABLE = codes.WAIT_WRITABLE
_QUEUE_MAX = 2 * DATAGRAMS_COLLECTED_MAX
_BYTES_MAX = DATAGRAM_BYTES_COLLECTED_MAX
_HEADER = DATAGRAM_HEADER_BYTES if SENDS_EMPTY else 0
_EAGAIN = errno.EAGAIN
_ECANCELED = errno.ECANCELED
_IN_FLIGHT = IN_FLIGHT
_sends_empty = SENDS_EMPTY

_UNSEGMENTED: Final = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP})
"""What a kernel says that cannot cut data into datagrams, or not for this network interface."""


class WaitForRoom(Operation):
    """The wait of one endpoint until the kernel takes datagrams again."""

    __slots__ = ("transport",)

    if TYPE_CHECKING:
        transport: DatagramSender | None

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass the completion on to the transport."""
        transport = self.transport
        if transport is not None:
            transport._on_room(result)


class DatagramSender(ReadingConnection):
    """A datagram socket that is sent to."""

    __slots__ = (
        "_address",
        "_blocked",
        "_collecting",
        "_connected",
        "_endpoint",
        "_false_news",
        "_named",
        "_retry",
        "_room",
        "_segmenting",
        "_sending",
        "_target",
        "_waiting",
    )

    def _set_up_sending(self, descriptor: Descriptor, address: Any) -> None:
        """Get ready to send to one address, or to any if it is None."""
        self._endpoint = make_endpoint(descriptor.sock.family)
        self._connected = self._peer is not None
        self._named = bool(native.address_of(self._peer))
        self._address = address
        self._target: Any = None
        self._waiting: list[Any] = []  # data and target in turn
        self._room: WaitForRoom | None = None
        self._retry: TimerHandle | None = None
        self._false_news = 0
        self._blocked = False
        self._collecting = False  # the protocol is being given a batch
        self._sending = False
        self._segmenting = -1  # not known yet

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send one datagram; never waits. What cannot be sent at once is kept.

        An error goes to the protocol's `error_received`. Once the transport is lost datagrams are
        dropped, and from the fifth on that is logged as a warning.

        Args:
            data: the datagram; a mutable buffer may be changed as soon as this returns. An empty
                one is sent since Python 3.13, and before that ignored, as in asyncio.
            addr: where to; None for the address the endpoint was made for. A host that is a name
                is looked up by a blocking call, as in asyncio.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
            ValueError: the endpoint was made for another address.
        """
        if type(data) is not bytes:
            data = _plain(data)
        if not (_sends_empty or data):
            return
        if (
            self._address is not None
            and addr is not None
            and addr is not self._address
            and addr != self._address
        ):
            raise ValueError(f"Invalid address: must be None or {self._address}")
        if self._lost and (self._address is not None or self._descriptor is None):
            self._write_after_loss()
            return
        self._loop._engine.acted = True
        target = self._target_of(addr)
        if self._collecting or self._waiting:
            self._put(data, target)
        elif target is None or type(target) is bytes:
            result = self._endpoint.send(self._fd, self._sock, data, target)
            if result < 0:
                self._not_sent(result, data, target)
        else:
            self._send_by_name(data, target)

    def send_segments(
        self, data: bytes | bytearray | memoryview, segment_bytes: int, addr: Any = None
    ) -> None:
        """Send data as datagrams of equal length, and let the kernel cut it where it can.

        On Linux, from 4.18 on, UDP datagrams to one address then cost one system call and one way
        through the network stack for up to 64 of them (UDP_SEGMENT, udp(7)); `can_segment` tells.
        Elsewhere, and where the kernel refuses because the network interface cannot take them, each
        is sent by itself. The receiver sees no difference. Everything else is as in `sendto`.

        Args:
            data: what to send, of any length; none is no datagram.
            segment_bytes: length of each datagram in bytes; the last may be shorter.
            addr: as in `sendto`.

        Raises:
            TypeError: not bytes, bytearray or memoryview.
            ValueError: `segment_bytes` is not positive, or the address is not the endpoint's.
        """
        if segment_bytes < 1:
            raise ValueError(f"segment_bytes must be positive, not {segment_bytes}")
        if type(data) is not bytes:
            data = bytes(_plain(data))
        if self._waiting and not self._blocked and not self._sending:
            self._send_waiting(True)
        several = min(SEGMENTS_MAX, SEGMENTS_BYTES_MAX // segment_bytes) * segment_bytes
        whole = several > segment_bytes and self.can_segment()
        start = 0
        while start < len(data):
            if whole and not self._waiting and not self._lost and len(data) - start > segment_bytes:
                size = self._send_whole(data, start, several, segment_bytes, addr)
                if size:
                    start += size
                    continue
                whole = False
            self.sendto(data[start : start + segment_bytes], addr)
            start += segment_bytes

    def can_segment(self) -> bool:
        """Whether `send_segments` leaves the cutting to the kernel."""
        if self._segmenting < 0 and self._descriptor is not None:
            self._segmenting = self._endpoint.can_segment(self._fd, self._descriptor.sock)
        return self._segmenting > 0

    def _send_whole(self, data: bytes, start: int, size: int, segment_bytes: int, addr: Any) -> int:
        """Send some datagrams of equal length at once: the bytes dealt with, 0 if it cannot be."""
        if addr is not None and self._address is not None and addr != self._address:
            return 0  # sendto has the words for it
        size = min(size, len(data) - start)
        self._loop._engine.acted = True
        try:
            target = self._target_of(addr)
            result = self._endpoint.send_segments(
                self._fd, self._sock, data, start, size, segment_bytes, target
            )
        except (OSError, TypeError, ValueError, OverflowError):
            return 0  # an address that is none: likewise
        if result >= 0:
            return size
        if result == -_EAGAIN:
            return 0
        if -result in _UNSEGMENTED:
            if -result == errno.EIO:
                self._segmenting = 0  # the interface makes no checksums: it never will
            return 0
        self._tell(from_result(result, "send", self._fd), True)
        return size

    def _target_of(self, addr: Any) -> Any:
        """What the native calls take for an address; None for the peer of a connected socket."""
        if self._connected and (addr is None or self._named):
            return None
        if addr is None or self._address is not None:
            if self._target is not None:
                return self._target
            addr = self._address
        target = self._endpoint.raw_address(addr)
        if target is not None:
            return target
        if self._sock is None and self._descriptor is not None:
            self._sock = self._descriptor.sock  # only it can look names up
        return ByName(addr)

    def _put(self, data: Any, target: Any) -> None:
        """Let a datagram wait behind others."""
        flow = self._make_flow()
        waiting = self._waiting
        chunk = data if type(data) is bytes else bytes(data)
        waiting.append(chunk)
        waiting.append(target)
        flow.size += len(chunk) + _HEADER
        if self._blocked:
            self._maybe_pause_protocol(flow)
        elif not self._sending and (len(waiting) >= _QUEUE_MAX or flow.size >= _BYTES_MAX):
            self._send_waiting(True)

    def _send_by_name(self, data: Any, target: Any) -> None:
        try:
            result = self._endpoint.send(self._fd, self._sock, data, target)
        except OSError as exc:
            self._tell(exc, True)
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal write error on datagram transport")
            return
        if result < 0:
            self._not_sent(result, data, target)

    def _not_sent(self, result: int, data: Any, target: Any) -> None:
        if result != -_EAGAIN:
            self._tell(from_result(result, "send", self._fd), True)
            return
        self._wait_for_room()
        if not self._lost:
            self._put(data, target)

    # -- sending what waits -----------------------------------------------------------------

    def _send_waiting(self, within_call: bool) -> None:
        """Send what waits until it is gone or the kernel takes no more.

        Args:
            within_call: the user is calling the transport now, so errors are told in his context.
        """
        if self._loop._engine.forked:
            self._drop_waiting()  # the parent sends it
            return
        self._loop._engine.acted = True
        waiting = self._waiting
        flow = self._make_flow()
        end = len(waiting)  # what error_received sends comes later, or this might never end
        position = 0
        self._sending = True
        try:
            while position < end and self._waiting is waiting and not self._blocked:
                sent, error = self._send_some(waiting, position)
                if sent or error is not None:
                    self._false_news = 0
                for _ in range(max(sent, error is not None)):
                    flow.size -= len(waiting[position]) + _HEADER
                    position += 2
                if error is not None:
                    self._send_failed(error, within_call)
                elif not sent:
                    self._wait_for_room()
        finally:
            self._sending = False
            if self._waiting is waiting:
                del waiting[:position]
                if waiting and not self._blocked:
                    self._loop.call_soon(self._send_later)
        if self._blocked:
            self._maybe_pause_protocol(flow)
        else:
            self._maybe_resume_protocol(flow)
        self._end_if_sent()

    def _send_some(self, waiting: list[Any], position: int) -> tuple[int, BaseException | None]:
        """Send a batch: how many went; (0, None) if there is no room; the first one's error."""
        try:
            result = self._endpoint.send_batch(self._fd, self._sock, waiting, position)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            return 0, exc
        if result > 0:
            return result, None
        return 0, None if result == -_EAGAIN else from_result(result, "send", self._fd)

    def _send_failed(self, error: BaseException, within_call: bool) -> None:
        if isinstance(error, OSError):
            self._tell(error, within_call)
        else:
            self._fatal_error(error, "Fatal write error on datagram transport")

    def _send_collected(self) -> None:
        """Send what was only collected before everything that waits is dropped."""
        waiting = self._waiting
        position = 0
        while position < len(waiting):
            sent, error = self._send_some(waiting, position)
            if not sent and error is None:
                return
            position += 2 * max(sent, 1)

    def _send_later(self) -> None:
        if self._waiting and not self._blocked and not self._sending and not self._lost:
            self._send_waiting(False)

    def _wait_for_room(self) -> None:
        """Wait until the kernel takes datagrams again."""
        if self._false_news:
            delay = DATAGRAM_RETRY_SECONDS_MIN * 2 ** min(self._false_news - 1, 10)
            delay = min(delay, DATAGRAM_RETRY_SECONDS_MAX)
            self._retry = self._loop.call_later(delay, self._on_retry)
            self._blocked = True
            return
        op = self._room
        if op is None:
            descriptor = self._descriptor
            assert descriptor is not None, "nothing is sent after the end"
            op = WaitForRoom(_WAIT_WRITABLE, self._fd, descriptor.sock)
            op.descriptor = descriptor
            op.transport = self
            op.expectant = True
            self._room = op
        if op.state == _IN_FLIGHT:
            self._blocked = True
        elif self._loop.submit(op):
            self._fatal_error(
                from_result(op.result, "send", self._fd), "Fatal write error on datagram transport"
            )
        else:
            self._blocked = True

    def _on_room(self, result: int) -> None:
        """Take the completion of the wait for room."""
        self._blocked = False
        if self._lost:
            return
        if result < 0 and result != -_ECANCELED:
            self._fatal_error(
                from_result(result, "send", self._fd), "Fatal write error on datagram transport"
            )
            return
        if self._waiting:
            self._false_news += 1  # until something is sent
            self._send_waiting(False)

    def _on_retry(self) -> None:
        self._retry = None
        self._on_room(0)

    # -- ending -----------------------------------------------------------------------------

    def _stop_sending(self) -> None:
        if self._waiting and not self._blocked and not self._sending:
            self._send_collected()
        self._drop_waiting()
        op = self._room
        if op is not None and op.state == _IN_FLIGHT:
            self._loop.cancel_operation(op)
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _send_all(self) -> bool:
        if self._waiting and not self._blocked and not self._sending:
            self._send_waiting(True)
        return not self._waiting

    def _drop_waiting(self) -> None:
        self._waiting = []  # another list, so that a send under way notices
        if self._flow is not None:
            self._flow.size = 0

    def _release(self) -> None:
        if self._room is not None:
            self._room.transport = None
        ReadingConnection._release(self)

    def _state(self) -> list[str]:
        state = "polling" if self._blocked else "idle"
        words = f"write=<{state}, bufsize={self.get_write_buffer_size()}>"
        return [*ReadingConnection._state(self), words]

    def _end_if_sent(self) -> None:
        if self._closing and not self._lost and not self._waiting and not self._sending:
            self._lost += 1
            self._loop.call_soon(self._lose, None, context=self._context)

    # -- telling the protocol ---------------------------------------------------------------

    def _tell(self, exc: BaseException, within_call: bool) -> None:
        """Call `error_received`: in the transport's context, or in that of the user's call."""
        if not within_call:
            failure = calls.try_method_in_context(
                self._context, self._protocol, "error_received", exc
            )
            if failure is not None:
                self._protocol_raised(failure, "error_received")
            return
        try:
            self._protocol.error_received(exc)
        except BaseException as failure:
            self._protocol_raised(failure, "error_received")

    def _protocol_raised(self, exc: BaseException, name: str) -> None:
        if isinstance(exc, (SystemExit, KeyboardInterrupt)):
            raise exc
        self._report(exc, f"Exception in protocol.{name}()")


def make_endpoint(family: int) -> Endpoint:
    """Make the native calls of one endpoint; apart, so that tests can put faults in."""
    return Endpoint(family)


def _plain(data: Any) -> Any:
    """Give data as bytes or bytearray.

    Raises:
        TypeError: it is no bytes-like object of asyncio's.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
    return bytes(data) if isinstance(data, memoryview) else data
