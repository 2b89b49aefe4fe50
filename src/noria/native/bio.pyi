from typing import Any

AVAILABLE: bool

def shrink(bio: Any) -> None: ...
