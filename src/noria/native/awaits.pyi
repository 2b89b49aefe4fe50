from collections.abc import Generator
from typing import Any

PENDING: int
DONE: int
ENDED_BADLY: int
PAUSING: int

def is_wakeup(callback: object) -> bool: ...
def is_spare(made: Awaited) -> bool: ...

class Awaited:
    stage: int
    outcome: Any
    spare: int
    _asyncio_future_blocking: bool
    def result(self) -> Any: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Awaited: ...
    def __next__(self) -> Any: ...
