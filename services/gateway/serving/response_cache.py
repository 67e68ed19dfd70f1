"""Answers that were given before, for models that asked for it: same version, same inputs, same outputs.

Keyed by what the model would see, so one image gives one entry whether it came as JSON or in binary form. Bounded by
memory: the least recently used answers go first. A failed call is never kept.
"""

import hashlib
import threading
from collections.abc import Collection, Mapping

from cachetools import LRUCache

from modelyard.models.types import Array
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching import Outputs, Target

OVERHEAD_BYTES = 500
"""About what the objects around the numbers of one answer take."""


class ResponseCache:
    """All kept answers. Safe for many threads."""

    def __init__(self, models: Collection[str], most_bytes: int, metrics: Metrics) -> None:
        self._models = frozenset(models)
        self._answers: LRUCache[bytes, Outputs] = LRUCache(most_bytes, getsizeof=size_of)
        self._lock = threading.Lock()
        self._metrics = metrics

    def key(self, target: Target, inputs: Mapping[str, Array]) -> bytes | None:
        """What an answer is found by; None if this model's answers are not kept, or its version may change."""
        return digest(target, inputs) if target.version is not None and target.model in self._models else None

    def get(self, key: bytes, model: str) -> Outputs | None:
        """The kept answer."""
        with self._lock:
            found = self._answers.get(key)
        self._metrics.cache_lookups.labels(model, "miss" if found is None else "hit").inc()
        return found

    def keep(self, key: bytes, answer: Outputs) -> None:
        """Keeps an answer, unless it is larger than everything there is room for."""
        with self._lock:
            if size_of(answer) <= self._answers.maxsize:
                self._answers[key] = Outputs(own_copies(answer), answer.version, finite=answer.finite)
            self._metrics.cache_bytes.set(self._answers.currsize)


def digest(target: Target, inputs: Mapping[str, Array]) -> bytes:
    """BLAKE2b over everything that the answer depends on; each part is preceded by its length."""
    found = hashlib.blake2b(repr(target).encode(), digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        found.update(f"{len(name)}:{name}:{array.dtype.str}:{array.shape}".encode())
        if array.dtype == object:
            for item in array.ravel():
                found.update(b"%d:" % len(item))
                found.update(item)
        else:
            found.update(array.tobytes())
    return found.digest()


def own_copies(answer: Outputs) -> dict[str, Array]:
    """Rows of a batch are views of it: kept as they are, they would keep all of it."""
    return {name: array.copy() for name, array in answer.items()}


def size_of(answer: Outputs) -> int:
    """Bytes that an answer takes, roughly."""
    strings = sum(len(item) + 50 for array in answer.values() if array.dtype == object for item in array.ravel())
    return OVERHEAD_BYTES + strings + sum(array.nbytes for array in answer.values())
