"""Memory that becomes a bytes object, interpreted twin of block.pyx."""


class Block:
    """Memory of `size` bytes that becomes a bytes object."""

    def __init__(self, size: int) -> None:
        self._memory: bytearray | None = bytearray(size)

    def view(self) -> memoryview:
        """Give a writable view, which must be let go of before `take`."""
        assert self._memory is not None
        return memoryview(self._memory)

    def take(self, size: int) -> bytes:
        """Give the first `size` bytes, once; the block is used up."""
        assert self._memory is not None
        assert 0 <= size <= len(self._memory)
        taken = bytes(memoryview(self._memory)[:size])
        self._memory = None
        return taken
