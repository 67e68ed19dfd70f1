"""Imports that can be ended, and cost less: without collections, without an optional dependency that is not used."""

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def end_on_sigterm(end: Callable[[int], object] = sys.exit) -> None:
    """Lets SIGTERM end a process that only begins, until it has a handler of its own: to be called before its imports.

    The first process of a container does not notice a signal without a handler (pid_namespaces(7)): taken away while
    it starts, it would go on until it is killed. It ends with status 0, as it does a moment later.
    """
    signal.signal(signal.SIGTERM, lambda *_: end(0))


@contextmanager
def hide_module(module: str) -> Iterator[None]:
    """Hides ``module`` from imports until the block ends, unless it is loaded already.

    ``None`` in ``sys.modules`` means "not installed" (Python reference, 5.3.1); the importing package does without.
    """
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # documented, but not in typeshed
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def pause_gc() -> Iterator[None]:
    """Collects no garbage until the block ends: what imports create stays, and a sixth of the time went on looking."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
