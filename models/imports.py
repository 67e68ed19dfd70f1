"""Imports a package without an optional dependency that would cost much and is not used.

``None`` in ``sys.modules`` means "not installed" (Python reference, 5.3.1); the importing package then does without.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hide_module(module: str) -> Iterator[None]:
    """Hides ``module`` from imports until the block ends, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # documented, but not in typeshed
    try:
        yield
    finally:
        del sys.modules[module]
