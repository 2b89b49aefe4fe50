"""Whether the engine `uring` can run here: told by trying, once per process.

A trial makes a ring as the engine does and has one request of each hot kind completed: a receive
into a provided buffer, a send, a poll, a cancellation. What fails for a lasting
reason (the kernel is too old, a setting or a filter forbids it) is remembered; what may pass, such
as a lack of memory or descriptors, is not, and does not count as unsupported: making the engine
then says what is wrong.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import socket
import sys
from pathlib import Path
from typing import Final, NamedTuple

from noria.engines.interface import Probe
from noria.limits import RING_TRIAL_NS_MAX
from noria.native import ring as native_ring

_SWITCH = Path("/proc/sys/kernel/io_uring_disabled")

_LASTING = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""Failures that will not pass while this process lives."""

_NEWS = 2  # any tag will do
_TRIAL_FEATURES = ("multishot receive", "provided buffers")


class Refusal(NamedTuple):
    """Kernels that are not used although a trial may succeed.

    Attributes:
        first: the first such version.
        behind: the first version behind them.
        reason: why.
    """

    first: tuple[int, int, int]
    behind: tuple[int, int, int]
    reason: str


REFUSALS: Final[tuple[Refusal, ...]] = (
    Refusal((0, 0, 0), (6, 1, 0), "DEFER_TASKRUN came with Linux 6.1"),
)
"""The blocklist. An entry needs a reason that a user can look up."""

_known: Probe | None = None


def probe() -> Probe:
    """Tell whether the engine can run here."""
    global _known
    if _known is None:
        found = _examine()
        if found is None:
            return Probe(True, "io_uring cannot be tried now for a lack of memory or descriptors")
        _known = found
    return _known


def rule_out(exc: OSError) -> bool:
    """Take note that a ring could not be made though it was tried with success before.

    Returns:
        True if that will not pass while this process lives; the probe says so from now on.
    """
    global _known
    if exc.errno not in _LASTING:
        return False
    _known = Probe(False, explain(exc))
    return True


def explain(exc: OSError) -> str:
    """Tell in a few words why no ring could be made."""
    code = exc.errno
    if code in (errno.EPERM, errno.EACCES):
        setting = _setting()
        if setting == "2":
            return "switched off on this system (sysctl kernel.io_uring_disabled is 2)"
        if setting == "1":
            return "for some groups only (sysctl kernel.io_uring_disabled is 1)"
        return f"{_name(code)}: a seccomp filter or another policy forbids it"
    if code == errno.ENOSYS:
        return "ENOSYS: the kernel was built without it, or a seccomp filter hides it"
    if code == errno.EINVAL:
        return f"Linux {platform.release()} lacks what is needed (6.1 has it): {exc.strerror}"
    return f"{_name(code)}: {exc.strerror}"


def refused_version(release: str) -> str | None:
    """Say why kernels of this release are not used, or None.

    Args:
        release: what uname(2) tells, such as "6.1.0-13-amd64".
    """
    numbers = [int(number) for number in re.findall(r"\d+", release)[:3]]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    for refusal in REFUSALS:
        if refusal.first <= (major, minor, patch) < refusal.behind:
            return f"not used on Linux {release}: {refusal.reason}"
    return None


def _examine() -> Probe | None:
    """Find out; None if it cannot be told now."""
    if not sys.platform.startswith("linux"):
        return Probe(False, f"{sys.platform} has no io_uring")
    if not native_ring.COMPILED:
        return Probe(False, "io_uring needs the compiled build")
    reason = refused_version(platform.release())
    if reason is not None:
        return Probe(False, reason)
    try:
        failure = _try_hot_kinds()
    except OSError as exc:
        return Probe(False, explain(exc)) if exc.errno in _LASTING else None
    if failure is not None:
        return Probe(False, f"a trial failed: {failure}")
    return Probe(True, "io_uring works here", _TRIAL_FEATURES)


class _Token:
    """Stands for a request; holds what is sent."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data


def _try_hot_kinds() -> str | None:
    """Have one request of each hot kind completed; what went wrong, or None.

    Raises:
        OSError: no ring can be made.
    """
    ring = native_ring.Ring(4, 8)
    try:
        for failure in (ring.make_group(1, 2, 4096), ring.enable()):
            if failure < 0:
                raise OSError(-failure, os.strerror(-failure))
        ring.provide(2)
        left, right = socket.socketpair()
        right.settimeout(RING_TRIAL_NS_MAX / 1e9)
        try:
            return _exchange(ring, left, right)
        finally:
            left.close()
            right.close()
    finally:
        ring.close()


def _exchange(ring: native_ring.Ring, left: socket.socket, right: socket.socket) -> str | None:
    receive, send = _Token(), _Token(b"there")
    ring.prepare_receive(receive, left.fileno())
    ring.prepare_poll(_NEWS, right.fileno())
    ring.prepare_send(send, left.fileno(), send.data, 0)
    right.send(b"here")
    seen: list[tuple[object, int, bytes | None]] = []
    if not _collect(ring, seen, 2):
        return f"only {len(seen)} of 2 requests were completed in time"
    if (receive, 4, b"here") not in seen:
        return "a receive did not bring what was sent"
    if len(seen) != 2 or right.recv(16) != b"there":
        return "a send did not arrive"
    ring.prepare_cancel(receive)
    seen.clear()
    if not _collect(ring, seen, 1) or seen[0][1] != -errno.ECANCELED:
        return "a receive was not cancelled"
    return None


def _collect(
    ring: native_ring.Ring, seen: list[tuple[object, int, bytes | None]], count: int
) -> bool:
    for _ in range(count + 1):
        if len(seen) < count:
            ring.enter(RING_TRIAL_NS_MAX)
        while ring.take():
            seen.append((ring.token, ring.result, ring.received()))
    return len(seen) >= count


def _setting() -> str:
    try:
        return _SWITCH.read_text("ascii").strip()
    except OSError:
        return ""


def _name(code: int | None) -> str:
    return errno.errorcode.get(code or 0, str(code))
