from typing import Final

from noria.native.transfer import Transfer

COMPILED: bool
THREADS: Final[int]
IN_FLIGHT: Final[int]
STARTED: Final[int]
CALLS: Final[int]
BELLS: Final[int]

class Job(Transfer):
    def __init__(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> None: ...
    def set_name(self, name: bytes) -> None: ...

class Crew:
    def __init__(
        self,
        bell: int,
        threads_max: int,
        bulk_max: int,
        queue_max: int,
        idle_ns: int,
        stack_bytes: int,
    ) -> None: ...
    def submit(self, job: Job) -> int: ...
    def cancel(self, job: Job) -> bool: ...
    def flush(self) -> bool: ...
    def reap(self, count: int) -> list[Job]: ...
    def count(self, which: int) -> int: ...
    def close(self, timeout_ns: int) -> list[Job]: ...
