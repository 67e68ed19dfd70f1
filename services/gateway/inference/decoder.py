"""Decodes bodies: small ones at once, large ones in a thread, so that the event loop goes on meanwhile."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from modelyard.models.imports import pause_gc

Result = TypeVar("Result")

LARGE_BYTES = 128 * 1024
"""Bodies up to this size are decoded within a few milliseconds, whatever they hold."""


class Decoder:
    """One thread: the values of one large body at a time are in memory as Python's objects."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "decode")

    async def run(self, body_bytes: int, decode: Callable[[], Result]) -> Result:
        """The result of ``decode``; raises what it raises."""
        if body_bytes <= LARGE_BYTES:
            return decode()
        return await asyncio.get_running_loop().run_in_executor(self._thread, run_without_gc, decode)


def run_without_gc(decode: Callable[[], Result]) -> Result:
    """As ``decode``: a collection among hundreds of thousands of new lists would stop every thread."""
    with pause_gc():
        return decode()
