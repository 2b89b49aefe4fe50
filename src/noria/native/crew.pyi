from typing import Final

from noria.native.transfer import Transfer

COMPILED: bool
THREADS: Final[int]
IN_FLIGHT: Final[int]
STARTED: Final[int]
CALLS: Final[int]
BELLS: Final[int]
WATCHES: Final[int]
VAIN_WATCHES: Final[int]

class Job(Transfer):
    def fill(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> None: ...
    def set_beside(self) -> None: ...
    def set_names(self, name: bytes, second: bytes) -> None: ...
    def opened(self) -> tuple[int, int]: ...

class Crew:
    def __init__(
        self,
        bell: int,
        threads_max: int,
        bulk_max: int,
        queue_max: int,
        idle_ns: int,
        stack_bytes: int,
        watch_ns: int = 0,
    ) -> None: ...
    def submit(self, job: Job) -> int: ...
    def cancel(self, job: Job) -> bool: ...
    def flush(self, patient: bool = False) -> bool: ...
    def reap(self, count: int) -> list[Job]: ...
    def count(self, which: int) -> int: ...
    def close(self, timeout_ns: int) -> list[Job]: ...
