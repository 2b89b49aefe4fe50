"""Calls on datagram sockets, interpreted twin of datagrams.pyx; acts through the socket object."""

import errno
import socket as socket_module
import struct
import sys
from socket import socket
from typing import Any

_DONTWAIT = getattr(socket_module, "MSG_DONTWAIT", 0)  # also a blocking socket must not block
_IP_FAMILIES = (socket_module.AF_INET, socket_module.AF_INET6)
_IP_BYTES = 65536  # as in datagrams.pyx, like the following
_OTHER_BYTES = 256 * 1024
_RECEIVE_MAX = 16
_OTHER_MAX = 4
_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_CONTROL_BYTES = 64  # room for a number with its header
_LINUX = sys.platform.startswith("linux")


def _failure(exc: OSError) -> int:
    if isinstance(exc, BlockingIOError):
        return -errno.EAGAIN
    return -(exc.errno or errno.EIO)


class ByName:
    """An address that only the socket object understands, and may have to look up."""

    __slots__ = ("address",)

    def __init__(self, address: Any) -> None:
        self.address = address


class Endpoint:
    """The calls on one datagram socket; what each needs to know of it.

    A target is None for the peer of a connected socket, or a ByName. Results are numbers, or minus
    errno.
    """

    __slots__ = ("_failed", "_is_ip", "coalescing", "drained", "family", "received_bytes")

    def __init__(self, family: int) -> None:
        self.family = family
        self.coalescing = False
        self.drained = True
        self.received_bytes = 0
        self._failed = 0
        self._is_ip = family in _IP_FAMILIES

    def receive(self, fd: int, sock: socket, count: int) -> list[Any] | int:
        """Receive up to `count` datagrams: a list of data and address in turn, or minus errno.

        `drained` tells whether the socket was empty afterwards, `received_bytes` how much came. An
        error behind the first datagram is told by the next call.
        """
        batch: list[Any] = []
        result, self._failed = self._failed, 0
        self.received_bytes = 0
        several = _RECEIVE_MAX if self._is_ip and not self.coalescing else _OTHER_MAX
        for _ in range(min(count, several)):
            if result:
                break
            try:
                self._receive_one(sock, batch)
            except OSError as exc:
                result = _failure(exc)
        self.drained = result != 0
        if not batch:
            return result
        if result not in (0, -errno.EAGAIN):
            self._failed = result
            self.drained = False
        return batch

    def _receive_one(self, sock: socket, batch: list[Any]) -> None:
        size = _IP_BYTES if self._is_ip else _OTHER_BYTES
        segment = 0
        if self.coalescing:
            data, control, _, address = sock.recvmsg(size, _CONTROL_BYTES, _DONTWAIT)
            for level, kind, value in control:
                if (level, kind) == (_UDP, _UDP_GRO):
                    segment = struct.unpack_from("=i", value)[0]
        else:
            data, address = sock.recvfrom(size, _DONTWAIT)
        self.received_bytes += len(data)
        if not 0 < segment < len(data):
            batch += (data, address)
            return
        for start in range(0, len(data), segment):
            batch += (data[start : start + segment], address)

    def raw_address(self, address: Any) -> bytes | None:
        """Say that only the socket object understands it, see ByName."""
        return None

    def send(self, fd: int, sock: socket, data: Any, target: Any) -> int:
        """Send one datagram: its length, or minus errno.

        Raises:
            OSError: an address that has to be looked up cannot be found.
            TypeError, ValueError, OverflowError: it is no address.
        """
        try:
            if target is None:
                return sock.send(data, _DONTWAIT)
            return sock.sendto(data, _DONTWAIT, target.address)
        except (socket_module.gaierror, socket_module.herror):
            raise  # their numbers are none of errno's
        except OSError as exc:
            return _failure(exc)

    def send_batch(self, fd: int, sock: socket, queue: list[Any], first: int) -> int:
        """Send from a list of bytes and target in turn: how many went, minus errno if none.

        Errors are those of the datagram at `first`, see `send`.
        """
        result = self.send(fd, sock, queue[first], queue[first + 1])
        return 1 if result >= 0 else result

    def send_segments(
        self,
        fd: int,
        sock: socket,
        data: Any,
        start: int,
        size: int,
        segment: int,
        target: Any,
    ) -> int:
        """Send a part of `data` as datagrams of `segment` bytes each, in one call (UDP_SEGMENT)."""
        if not _LINUX:
            return -errno.EOPNOTSUPP
        part = memoryview(data)[start : start + size]
        control = [(_UDP, _UDP_SEGMENT, struct.pack("=H", segment))]
        try:
            if target is None:
                return sock.sendmsg([part], control, _DONTWAIT)
            return sock.sendmsg([part], control, _DONTWAIT, target.address)
        except (socket_module.gaierror, socket_module.herror):
            raise
        except OSError as exc:
            return _failure(exc)

    def can_segment(self, fd: int, sock: socket) -> bool:
        """Whether the kernel knows UDP_SEGMENT for this socket (Linux 4.18)."""
        if not (_LINUX and self._is_ip):
            return False
        try:
            sock.getsockopt(_UDP, _UDP_SEGMENT)
        except OSError:
            return False
        return True

    def coalesce(self, fd: int, sock: socket, enabled: bool) -> int:
        """Let the kernel hand over several datagrams in one piece, or not: 0 or minus errno.

        What was received before comes as it was received, so that it is looked at for ever.
        """
        if not _LINUX:
            return -errno.EOPNOTSUPP
        try:
            sock.setsockopt(_UDP, _UDP_GRO, int(enabled))
        except OSError as exc:
            return _failure(exc)
        if enabled:
            self.coalescing = True
        return 0
