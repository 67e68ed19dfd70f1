"""Memory that loading and unloading have freed goes back to the system: glibc keeps it, for whoever asks next.

Reading and rewriting a graph takes several times what is left of it afterwards.
"""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back_freed_memory() -> None:
    """Of all pools of the allocator; nothing where it is not glibc's."""
    if trim := _find_trim():
        trim(0)


@cache
def _find_trim() -> Callable[[int], int] | None:
    """``malloc_trim(3)``: ctypes gives up the interpreter's lock meanwhile."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
