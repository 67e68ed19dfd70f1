"""Lets a package believe that an optional dependency is not installed, where importing it costs much for nothing.

``None`` in ``sys.modules`` means "not there" (Python reference, 5.3.1); the importing package then does without.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(module: str) -> Iterator[None]:
    """Hides ``module`` until the block ends, unless it is loaded already; later imports find it."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # documented, but not in typeshed
    try:
        yield
    finally:
        del sys.modules[module]
