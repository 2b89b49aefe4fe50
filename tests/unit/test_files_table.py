"""What pathlib, os, os.path, shutil, tempfile and glob do with files, and the form it has in noria.

Every public function is in a table: with its form, or with the reason why there is none. A new one
in a newer Python fails the test until somebody has decided.
"""

from __future__ import annotations

import glob
import inspect
import os
import pathlib
import shutil
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

import noria
import noria.fs

if TYPE_CHECKING:
    from types import ModuleType

OF_PROCESS = "changes or tells of the process, and no file"
TERMINAL = "of terminals"
DESCRIPTOR = "of the number, which waits for nothing"
COMPUTED = "computes with names or numbers, asks for nothing"
CHILDREN = "of processes: loop.subprocess_exec"
PIPES = "between pipes: streams of the loop"

PATH_REASONS = {"link_to": "removed in 3.12; hardlink_to is it with its arguments in order"}
"""What noria.Path does not have of pathlib.Path; everything else is there by its name."""

FORMS = {
    "os": {
        "access": "fs.access",
        "chmod": "fs.chmod",
        "chown": "fs.chown",
        "close": "fs.BinaryFile.close",
        "copy_file_range": "fs.sendfile",
        "fchmod": "fs.chmod",
        "fchown": "fs.chown",
        "fdatasync": "fs.BinaryFile.datasync",
        "fdopen": "open",
        "fstat": "fs.stat",
        "fstatvfs": "fs.statvfs",
        "fsync": "fs.BinaryFile.sync",
        "ftruncate": "fs.BinaryFile.truncate_at",
        "getcwd": "Path.cwd",
        "getcwdb": "Path.cwd",
        "getxattr": "fs.getxattr",
        "isatty": "fs.BinaryFile.isatty",
        "lchmod": "Path.lchmod",
        "lchown": "fs.lchown",
        "link": "fs.link",
        "listdir": "fs.listdir",
        "listxattr": "fs.listxattr",
        "lockf": "fs.BinaryFile.lock",
        "lseek": "fs.BinaryFile.seek",
        "lstat": "fs.lstat",
        "makedirs": "fs.makedirs",
        "mkdir": "fs.mkdir",
        "mkfifo": "fs.mkfifo",
        "mknod": "fs.mknod",
        "open": "open",
        "posix_fadvise": "fs.BinaryFile.advise",
        "posix_fallocate": "fs.BinaryFile.allocate",
        "pread": "fs.BinaryFile.read_at",
        "preadv": "fs.BinaryFile.readv_at",
        "pwrite": "fs.BinaryFile.write_at",
        "pwritev": "fs.BinaryFile.writev_at",
        "read": "fs.BinaryFile.read",
        "readlink": "fs.readlink",
        "readv": "fs.BinaryFile.readv_at",
        "remove": "fs.remove",
        "removedirs": "fs.removedirs",
        "removexattr": "fs.removexattr",
        "rename": "fs.rename",
        "renames": "fs.renames",
        "replace": "fs.replace",
        "rmdir": "fs.rmdir",
        "scandir": "fs.scandir",
        "sendfile": "fs.sendfile",
        "setxattr": "fs.setxattr",
        "stat": "fs.stat",
        "statvfs": "fs.statvfs",
        "symlink": "fs.symlink",
        "truncate": "fs.truncate",
        "unlink": "fs.unlink",
        "utime": "fs.utime",
        "walk": "fs.walk",
        "write": "fs.BinaryFile.write",
        "writev": "fs.BinaryFile.writev_at",
    },
    "os.path": {
        "abspath": "Path.absolute",
        "exists": "fs.exists",
        "expanduser": "Path.expanduser",
        "getatime": "fs.stat",
        "getctime": "fs.stat",
        "getmtime": "fs.stat",
        "getsize": "fs.getsize",
        "isdir": "fs.is_dir",
        "isfile": "fs.is_file",
        "isjunction": "Path.is_junction",
        "islink": "fs.is_symlink",
        "ismount": "Path.is_mount",
        "lexists": "fs.lexists",
        "realpath": "fs.realpath",
        "samefile": "fs.samefile",
        "sameopenfile": "fs.samefile",
    },
    "shutil": {
        "copy": "fs.copy",
        "copy2": "fs.copy2",
        "copyfile": "fs.copyfile",
        "copyfileobj": "fs.sendfile",
        "copymode": "fs.copymode",
        "copystat": "fs.copystat",
        "copytree": "fs.copytree",
        "disk_usage": "fs.disk_usage",
        "move": "fs.move",
        "rmtree": "fs.rmtree",
    },
    "tempfile": {
        "NamedTemporaryFile": "fs.NamedTemporaryFile",
        "TemporaryDirectory": "fs.TemporaryDirectory",
        "TemporaryFile": "fs.TemporaryFile",
        "mkdtemp": "fs.mkdtemp",
        "mkstemp": "fs.mkstemp",
    },
    "glob": {"glob": "Path.glob", "iglob": "Path.glob"},
}
"""The form of each, below `noria`."""

REASONS = {
    "os": {
        "chdir chroot fchdir umask": "belongs to the process, not to a task",
        "chflags lchflags": "flags of files of BSD; noria is not tried there",
        "fpathconf pathconf": "tells of limits, and nobody waits for it",
        "fwalk": "hands out numbers of directories, which a batch in a thread cannot; walk",
        "sync": "forces everything of the machine, for everybody; sync of the file",
        "splice pipe pipe2": PIPES,
        "closerange dup dup2 get_blocking set_blocking get_inheritable set_inheritable": DESCRIPTOR,
        "device_encoding get_terminal_size ctermid login_tty openpty forkpty grantpt": TERMINAL,
        "posix_openpt ptsname tcgetpgrp tcsetpgrp ttyname unlockpt": TERMINAL,
        "fsdecode fsencode fspath major makedev minor strerror": COMPUTED,
        "waitstatus_to_exitcode WCOREDUMP WEXITSTATUS WIFCONTINUED WIFEXITED": COMPUTED,
        "WIFSIGNALED WIFSTOPPED WSTOPSIG WTERMSIG": COMPUTED,
        "eventfd eventfd_read eventfd_write memfd_create pidfd_open": "makes no file with a name",
        "timerfd_create timerfd_gettime timerfd_gettime_ns timerfd_settime": "timers of the loop",
        "timerfd_settime_ns": "timers of the loop",
        "abort confstr cpu_count get_exec_path getegid getenv getenvb geteuid getgid": OF_PROCESS,
        "getgrouplist getgroups getloadavg getlogin getpgid getpgrp getpid getppid": OF_PROCESS,
        "getpriority getrandom getresgid getresuid getsid getuid initgroups kill": OF_PROCESS,
        "killpg nice process_cpu_count putenv register_at_fork setegid seteuid": OF_PROCESS,
        "setgid setgroups setns setpgid setpgrp setpriority setregid setresgid": OF_PROCESS,
        "setresuid setreuid setsid setuid sysconf times uname unsetenv unshare": OF_PROCESS,
        "urandom sched_get_priority_max sched_get_priority_min": OF_PROCESS,
        "sched_getaffinity sched_getparam sched_getscheduler": OF_PROCESS,
        "sched_rr_get_interval sched_setaffinity sched_setparam": OF_PROCESS,
        "sched_setscheduler sched_yield": OF_PROCESS,
        "execl execle execlp execlpe execv execve execvp execvpe fork popen": CHILDREN,
        "posix_spawn posix_spawnp spawnl spawnle spawnlp spawnlpe spawnv": CHILDREN,
        "spawnve spawnvp spawnvpe system wait wait3 wait4 waitid waitpid": CHILDREN,
    },
    "os.path": {
        "basename commonpath commonprefix dirname expandvars isabs join normcase": COMPUTED,
        "normpath relpath samestat split splitdrive splitext splitroot": COMPUTED,
        "isdevdrive": "of Windows: run it in an executor",
    },
    "shutil": {
        "chown": "looks names of users up; fs.chown with the numbers that pwd and grp give",
        "make_archive unpack_archive": "computes for long: run it in an executor",
        "get_archive_formats get_unpack_formats register_archive_format": COMPUTED,
        "register_unpack_format unregister_archive_format": COMPUTED,
        "unregister_unpack_format ignore_patterns": COMPUTED,
        "get_terminal_size": TERMINAL,
        "which": "of programs, once at the start; run it in an executor",
    },
    "tempfile": {
        "SpooledTemporaryFile": "is memory up to a size; TemporaryFile, which the page cache keeps",
        "gettempdir gettempdirb": "chosen once, and asked by what makes files",
        "gettempprefix gettempprefixb": COMPUTED,
        "mktemp": "deprecated, since another may make the file first",
    },
    "glob": {"escape translate": COMPUTED},
}
"""Why there is none, by names in a row."""

MODULES: dict[str, ModuleType] = {
    "os": os,
    "os.path": os.path,
    "shutil": shutil,
    "tempfile": tempfile,
    "glob": glob,
}

XATTRS = {"fs.getxattr", "fs.listxattr", "fs.removexattr", "fs.setxattr"}
ONLY = {
    "darwin": XATTRS,
    "win32": XATTRS | {"fs.chown", "fs.lchown", "fs.mkfifo", "fs.mknod", "fs.statvfs"},
}
"""Forms that are not there on a system, as the functions are not."""


def functions(module: ModuleType) -> set[str]:
    """The public functions of a module; of tempfile also the classes."""
    names = module.__all__ if module in {tempfile, glob} else dir(module)
    return {
        name
        for name in names
        if not name.startswith("_")
        and (inspect.isroutine(getattr(module, name)) or module is tempfile)
        and callable(getattr(module, name))
    }


def resolved(form: str) -> Any:
    """What stands in noria by that name."""
    found: Any = noria
    for part in form.split("."):
        found = getattr(found, part)
    return found


def reasons(module: str) -> dict[str, str]:
    return {name: why for names, why in REASONS[module].items() for name in names.split(" ")}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have functions of their own")
@pytest.mark.parametrize("module", MODULES)
def test_every_function_has_a_form_or_a_reason(module: str) -> None:
    decided = set(FORMS[module]) | set(reasons(module))
    assert not functions(MODULES[module]) - decided, "decide on these, and enter them here"


@pytest.mark.parametrize("module", MODULES)
def test_no_function_has_both(module: str) -> None:
    assert not set(FORMS[module]) & set(reasons(module))
    assert all(reasons(module).values())


@pytest.mark.parametrize("module", MODULES)
def test_every_form_is_there(module: str) -> None:
    for form in set(FORMS[module].values()) - ONLY.get(sys.platform, set()):
        assert callable(resolved(form)), form
        assert resolved(form).__doc__, form


def test_every_name_of_pathlib_is_there_or_has_a_reason() -> None:
    theirs = {name for name in dir(pathlib.Path) if not name.startswith("_")}
    ours = {name for name in dir(noria.Path) if not name.startswith("_")}
    assert theirs - ours <= set(PATH_REASONS), "give noria.Path these, or a reason"
    newer = {"is_junction", "walk", "with_segments"}  # of 3.12, and here of all
    assert ours - theirs <= newer
    for name in ours:
        assert getattr(noria.Path, name).__doc__, name


def test_every_coroutine_of_fs_is_documented() -> None:
    for name in noria.fs.__all__:
        found = getattr(noria.fs, name)
        if not isinstance(found, int):
            assert found.__doc__, name
