"""Memory that was freed goes back to the system, where the allocator is glibc's."""

import ctypes

import psutil
import pytest

from modelyard.services.modelserver.lifecycle.freed_memory import give_back_freed_memory

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
BLOCK, COUNT = 64 * 1024, 1024
"""Bytes, few enough to come from a pool."""


def used() -> int:
    return int(psutil.Process().memory_info().rss)


@pytest.mark.skipif(not hasattr(LIBC, "malloc_trim"), reason="not glibc")
def test_what_was_freed_below_something_in_use_goes_back() -> None:
    """The last block is kept: with it at their end, glibc gives none of the others back by itself."""
    blocks = [ctypes.c_void_p(LIBC.malloc(BLOCK)) for _ in range(COUNT)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    for block in blocks[:-1]:
        LIBC.free(block)
    before = used()
    give_back_freed_memory()
    assert before - used() > BLOCK * COUNT / 2
    LIBC.free(blocks[-1])


def test_nothing_happens_with_another_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.services.modelserver.lifecycle.freed_memory._find_trim", lambda: None)
    give_back_freed_memory()
