"""Cached responses of the models in ``MODELYARD_CACHED_MODELS``: same version, same inputs, same outputs.

Keyed by what the model would see, so one image gives one entry whether it came as JSON or in binary form. Bounded by
memory: the least recently used are evicted first. A failed call is never cached.
"""

import hashlib
import threading
from collections.abc import Collection, Mapping

from cachetools import LRUCache

from modelyard.models.types import Array
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Outputs, Target

OVERHEAD_BYTES = 500
"""Estimated bytes of the objects around the numbers of one response."""


class ResponseCache:
    """All cached responses. Safe for many threads."""

    def __init__(self, models: Collection[str], max_bytes: int, metrics: Metrics) -> None:
        self._models = frozenset(models)
        self._outputs: LRUCache[bytes, Outputs] = LRUCache(max_bytes, getsizeof=estimate_bytes)
        self._lock = threading.Lock()
        self._metrics = metrics

    def key(self, target: Target, inputs: Mapping[str, Array]) -> bytes | None:
        """What outputs are found by; None if this model's are not cached, or its version may change."""
        return hash_inputs(target, inputs) if target.version is not None and target.model in self._models else None

    def get(self, key: bytes, model: str) -> Outputs | None:
        """The cached outputs."""
        with self._lock:
            cached = self._outputs.get(key)
        self._metrics.cache_lookups.labels(model, "miss" if cached is None else "hit").inc()
        return cached

    def put(self, key: bytes, outputs: Outputs) -> None:
        """Caches outputs, unless they are larger than the cache."""
        with self._lock:
            if estimate_bytes(outputs) <= self._outputs.maxsize:
                self._outputs[key] = Outputs(copy_arrays(outputs), outputs.version, finite=outputs.finite)
            self._metrics.cache_bytes.set(self._outputs.currsize)


def hash_inputs(target: Target, inputs: Mapping[str, Array]) -> bytes:
    """BLAKE2b over everything that the outputs depend on; each part is preceded by its length."""
    digest = hashlib.blake2b(repr(target).encode(), digest_size=32)
    for name in sorted(inputs):
        array = inputs[name]
        digest.update(f"{len(name)}:{name}:{array.dtype.str}:{array.shape}".encode())
        if array.dtype == object:
            for item in array.ravel():
                digest.update(b"%d:" % len(item))
                digest.update(item)
        else:
            digest.update(array.tobytes())
    return digest.digest()


def copy_arrays(outputs: Outputs) -> dict[str, Array]:
    """Rows of a batch are views of it: cached as they are, they would keep all of it."""
    return {name: array.copy() for name, array in outputs.items()}


def estimate_bytes(outputs: Outputs) -> int:
    """Bytes that outputs take, roughly."""
    strings = sum(len(item) + 50 for array in outputs.values() if array.dtype == object for item in array.ravel())
    return OVERHEAD_BYTES + strings + sum(array.nbytes for array in outputs.values())
