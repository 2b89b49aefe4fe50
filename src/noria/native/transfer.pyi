from typing import Any

COMPILED: bool

class Transfer:
    token: Any
    kind: int
    fd: int
    advice: int
    offset: int
    size: int
    result: int
    parts: int
    def __init__(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> None: ...
    def fill(
        self, token: object, kind: int, fd: int, buffer: object, offset: int, size: int, advice: int
    ) -> None: ...
    def address(self) -> int: ...
    def taken(self, size: int) -> bytes: ...

def has_position(fd: int) -> bool: ...
