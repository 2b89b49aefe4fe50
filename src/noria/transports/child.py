"""Child: a process that was started here, until it has been reaped.

Facts, and what follows from them here:

- A process descriptor (pidfd_open(2), Linux 5.3) becomes readable when the process ends, and means
  that process for ever: a signal sent through it never hits the number's next holder
  (pidfd_send_signal(2)), and no handler of SIGCHLD is needed. It works in any thread.
- Where there is none (another system, an older kernel, a filter, no descriptor left) a thread waits
  instead. It waits without reaping (WNOWAIT, waitid(2)), so that the number stays the child's until
  the loop's thread reaps: a signal sent there before cannot hit another process.
- Whoever reaps gets the exit code, once. Every reaping of ours is done under the lock of the Popen
  object, and leaves the code there at once: `Popen.wait` in another thread agrees with the loop,
  and a code that it got is not lost. Only a stranger's waitpid takes it away; then it is 255.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import threading
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

import noria.operations  # noqa: F401 - enters the operations into the catalog
from noria.core.codes import WAIT_CHILD
from noria.core.descriptor import Descriptor
from noria.core.operation import Operation

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from noria.loop.core import LoopCore

LOST_CODE = 255
"""Exit code of a child that somebody else has reaped, as in asyncio."""

_system: Any = os  # waiting is a matter of Unix
_waitid: Any = getattr(os, "waitid", None)
_BY_DESCRIPTOR: Any = getattr(os, "P_PIDFD", None)
_EXITED: int = getattr(os, "CLD_EXITED", 1)
_send_signal: Any = getattr(signal, "pidfd_send_signal", None)


class ExitOperation(Operation):
    """Waits for the end of a child by its descriptor, and reaps it.

    Attributes:
        child: the child; None once nobody wants to know.
    """

    __slots__ = ("child",)

    def __init__(self, child: Child, descriptor: Descriptor) -> None:
        Operation.__init__(self, WAIT_CHILD, descriptor.fd)
        self.descriptor = descriptor
        self.expectant = True  # not before its end: the attempt takes a lock
        self.child: Child | None = child

    def perform(self) -> int:
        """Reap the child, unless its Popen object has."""
        child = self.child
        if child is None:
            return -errno.ECANCELED
        return child.reap(functools.partial(Operation.perform, self), self)

    def deliver(self, result: int, flags: int, data: object) -> None:
        """Pass the completion on to the child."""
        child = self.child
        if child is not None:
            child._on_end(result)

    def absorb(self, result: int) -> bool:
        """Let it end unnoticed once nobody wants to know."""
        return self.child is None


class Child:
    """A child process of a loop.

    Attributes:
        process: its Popen object, whose signals go through the descriptor where there is one.
    """

    def __init__(self, loop: LoopCore, process: subprocess.Popen[bytes]) -> None:
        self._loop = loop
        self.process = process
        self._descriptor: Descriptor | None = None
        self._op: ExitOperation | None = None
        self._on_exit: Callable[[int], object] | None = None
        number = open_pidfd(process.pid)
        if number >= 0:
            self._descriptor = Descriptor(number)
            if _send_signal is not None:
                # Popen.send_signal would ask waitpid and then trust the number.
                process.send_signal = self.send_signal  # type: ignore[method-assign,assignment]

    # -- its end ----------------------------------------------------------------------------

    def wait(self, on_exit: Callable[[int], object]) -> None:
        """Begin to wait for its end; once.

        Args:
            on_exit: called once with the exit code, minus the signal's number if one killed it.
        """
        self._on_exit = on_exit
        if self._descriptor is None:
            self._wait_in_thread()
            return
        self._op = ExitOperation(self, self._descriptor)
        if self._loop.submit_operation(self._op):
            self._loop.call_soon(self._op.deliver, self._op.result, 0, None)

    def _on_end(self, result: int) -> None:
        """Take the completion of the wait; it has been reaped, or something is amiss."""
        code = self.process.returncode
        if code is None and result == -errno.ECHILD:
            code = self._lost()
        if code is None:
            self._release()
            self._wait_in_thread()
            return
        self._end(code)

    def _end(self, code: int) -> None:
        self._release()
        on_exit = self._on_exit
        self._on_exit = None
        if on_exit is not None:
            on_exit(code)

    def _lost(self) -> int:
        logger.warning(
            "child process pid %d exit status already read:  will report returncode 255",
            self.process.pid,
        )
        self.process.returncode = LOST_CODE
        return LOST_CODE

    def reap(self, attempt: Callable[[], int], result: Any) -> int:
        """Make an attempt at reaping under the lock of the Popen object, and leave it the code.

        Args:
            attempt: 0, or minus errno.
            result: its `buffer` is os.waitid's result after a success.

        Returns:
            0 if the code is known, else what the attempt said.
        """
        process = self.process
        lock = process._waitpid_lock  # type: ignore[attr-defined]
        if not lock.acquire(blocking=False):
            # Somebody is inside Popen.wait. It has ended, so they will have the code in a moment;
            # unless these news were false.
            if self._is_running():
                return -errno.EAGAIN
            lock.acquire()
        try:
            if process.returncode is not None:
                return 0
            outcome = attempt()
            if outcome == 0:
                process.returncode = code_of(result.buffer)
            return outcome
        finally:
            lock.release()

    def _is_running(self) -> bool:
        descriptor = self._descriptor
        if descriptor is None or _waitid is None:
            return False
        try:
            flags = _system.WEXITED | _system.WNOHANG | _system.WNOWAIT
            return _waitid(_BY_DESCRIPTOR, descriptor.fd, flags) is None
        except OSError:
            return False

    # -- without a descriptor ---------------------------------------------------------------

    def _wait_in_thread(self) -> None:
        thread = threading.Thread(
            target=_wait_for_end,
            args=(self._loop, self.process, self._on_end_in_thread),
            name=f"noria-child-{self.process.pid}",
            daemon=True,  # a child may outlive the program
        )
        thread.start()

    def _on_end_in_thread(self) -> None:
        """Reap, in the loop's thread."""
        process = self.process
        with process._waitpid_lock:  # type: ignore[attr-defined]
            code = process.returncode
            if code is None:
                try:
                    pid, status = os.waitpid(process.pid, _system.WNOHANG)
                except ChildProcessError:
                    pid = 0
                if pid:
                    code = process.returncode = os.waitstatus_to_exitcode(status)
                else:
                    code = self._lost()  # a number that still runs is already somebody else's
        self._end(code)

    # -- signals ----------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens if the child has ended (pidfd_send_signal(2)).

        Raises:
            OSError: the number is no signal's (EINVAL), or it is not allowed (EPERM).
        """
        process = self.process
        if process.returncode is not None:
            return
        descriptor = self._descriptor
        if descriptor is not None and not descriptor.closed and _send_signal is not None:
            try:
                _send_signal(descriptor.fd, number)
            except ProcessLookupError:
                return
            except OSError as exc:
                if exc.errno != errno.ENOSYS:
                    raise
            else:
                return
        # Asks waitpid first: until that has reaped it, the number is the child's.
        type(process).send_signal(process, number)

    # -- giving back ------------------------------------------------------------------------

    def _release(self) -> None:
        op = self._op
        if op is not None:
            op.child = None
            self._op = None
        self.process.__dict__.pop("send_signal", None)  # it refers to this object
        descriptor = self._descriptor
        if descriptor is not None:
            self._descriptor = None
            self._loop.forget(descriptor.fd)
            descriptor.close()

    def abandon(self) -> None:
        """Let go of a child whose loop is gone; what it leaves is reaped by a later Popen."""
        self._on_exit = None
        self._release()


def _wait_for_end(
    loop: LoopCore, process: subprocess.Popen[bytes], on_end: Callable[[], object]
) -> None:
    """Wait in a thread until a child has ended, and leave the reaping to the loop's."""
    try:
        if _waitid is not None:
            _waitid(_system.P_PID, process.pid, _system.WEXITED | _system.WNOWAIT)
        else:
            process.wait()
    except ChildProcessError:
        pass  # somebody has reaped it
    try:
        loop.call_soon_threadsafe(on_end)
    except RuntimeError:
        pass  # the loop was closed meanwhile, so nobody waits any more


def open_pidfd(pid: int) -> int:
    """Open a descriptor of a process (pidfd_open(2)), or give -1 where there is none to have."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def code_of(ended: Any) -> int:
    """Make an exit code of what os.waitid tells."""
    status: int = ended.si_status
    return status if ended.si_code == _EXITED else -status
