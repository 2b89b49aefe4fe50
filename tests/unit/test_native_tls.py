"""Block and bio, both twins: bytes filled after they were made, and BIOs that give memory back."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.twins import build_of, twins

if TYPE_CHECKING:
    from types import ModuleType

each_block = pytest.mark.parametrize("module", twins("block"), ids=build_of)
each_bio = pytest.mark.parametrize("module", twins("bio"), ids=build_of)


@each_block
@pytest.mark.parametrize(("size", "used"), [(1, 1), (100, 100), (100, 60), (200_000, 1), (5, 0)])
def test_a_block_becomes_what_was_written(module: ModuleType, size: int, used: int) -> None:
    block = module.Block(size)
    view = block.view()
    assert (len(view), view.readonly, view.itemsize) == (size, False, 1)
    expected = bytes(number % 251 for number in range(used))
    view[:used] = expected
    del view
    taken = block.take(used)
    assert type(taken) is bytes
    assert taken == expected
    assert hash(taken) == hash(expected)
    assert sys.getrefcount(taken) <= 2 or used <= 1  # empty and one-byte objects are shared


@each_block
def test_a_block_is_used_once(module: ModuleType) -> None:
    block = module.Block(10)
    with pytest.raises(AssertionError):
        block.take(11)
    block.take(5)
    with pytest.raises(AssertionError):
        block.take(5)
    with pytest.raises(AssertionError):
        block.view()
    module.Block(10)  # one that is never taken goes by itself


@each_bio
def test_a_shrunk_bio_works_on(module: ModuleType) -> None:
    bio = ssl.MemoryBIO()
    for size in (0, 10, 100_000, 3, 20_000):
        assert bio.write(b"x" * size) == size
        module.shrink(bio)
        assert bio.pending == size
        assert bio.read() == b"x" * size
        module.shrink(bio)
        module.shrink(bio)
    bio.write(b"last")
    bio.write_eof()
    module.shrink(bio)
    assert (bio.read(), bio.eof) == (b"last", True)
    module.shrink(bio)
    assert bio.eof


@each_bio
def test_what_is_no_bio_is_left_alone(module: ModuleType) -> None:
    for thing in (None, bytearray(10), object()):
        module.shrink(thing)


def test_the_compiled_one_finds_openssl() -> None:
    """If this fails on a Python whose OpenSSL is linked in, that is right, and costs memory."""
    compiled = [module for module in twins("bio") if build_of(module) == "compiled"]
    if not compiled:
        pytest.skip("nothing is compiled here")
    import _ssl

    if sys.version_info >= (3, 14) or not hasattr(_ssl, "__file__"):
        pytest.skip("only the layout of CPython 3.11 to 3.13 with a shared _ssl is known")
    assert compiled[0].AVAILABLE


def test_shrinking_gives_memory_back() -> None:
    import resource

    compiled = [module for module in twins("bio") if build_of(module) == "compiled"]
    if not compiled or not compiled[0].AVAILABLE:
        pytest.skip("memory is given back by the compiled build only")
    bios = [ssl.MemoryBIO() for _ in range(300)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for bio in bios:
        bio.write(b"x" * 300_000)
        bio.read()
        compiled[0].shrink(bio)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 300 * 300 // 4  # 90 MB would have been kept
