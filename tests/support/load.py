"""Predictions with known right answers from several threads, and what became of each.

Right is what training itself answered: each version's golden inputs and outputs lie beside it in the store.
"""

import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import httpx
import numpy as np

from modelyard.models.types import Array

THREADS = 4
PAUSE_S = 0.02
TIMEOUT = httpx.Timeout(30, connect=2)
"""Seconds, as httpx has them."""
TOLERANCE = 1e-4
INPUTS = {"mnist_cnn": "images", "sentiment_lstm": "text"}
RETRY_LATER = (429, 503)


class Running(Protocol):
    """A system in containers."""

    def exec(self, service: str, *command: str) -> bytes:
        """What a command in a container of a service writes on its standard output."""


@dataclass
class Golden:
    """What versions predicted when they were trained, read once each."""

    engine: Running
    _read: dict[tuple[str, int], tuple[list[Any], Array]] = field(default_factory=dict)

    def of(self, model: str, version: int) -> tuple[list[Any], Array]:
        """Instances, and the scores that belong to them."""
        if (model, version) not in self._read:
            path = f"/store/{model}/{version}/assets.extra/golden.npz"
            self._read[model, version] = unpack(self.engine.exec("trainer", "cat", path))
        return self._read[model, version]


def unpack(content: bytes) -> tuple[list[Any], Array]:
    """Inputs and first output of ``serving_default``; texts are stored as UTF-8 and offsets."""
    with np.load(io.BytesIO(content)) as known:
        arrays = {name: known[name] for name in known if name.startswith("serving_default/")}
    found = {name.removeprefix("serving_default/").removeprefix("outputs/"): array for name, array in arrays.items()}
    outputs = next(found[name] for name in ("probabilities", "score", "probability") if name in found)
    texts = next((name.removesuffix(".utf8") for name in found if name.endswith(".utf8")), None)
    if texts is None:
        return next(array for name, array in found.items() if array.ndim > 2).tolist(), outputs
    raw, ends = found[f"{texts}.utf8"].tobytes(), found[f"{texts}.offsets"]
    return [raw[a:b].decode() for a, b in pairwise(ends)], outputs


@dataclass
class Load:
    """Asks both models in turn until it is stopped."""

    url: str
    key: str
    golden: Golden
    seen: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    """Of what should not have been."""
    first_right_after: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._ask_on, args=(number,), daemon=True) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _ask_on(self, number: int) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, trust_env=False) as client:
            turn = number
            while not self._stop.is_set():
                turn += 1
                self._note(*self._ask(client, sorted(INPUTS)[turn % len(INPUTS)], turn))
                time.sleep(PAUSE_S)

    def _ask(self, client: httpx.Client, model: str, turn: int) -> tuple[str, str]:
        instances, _ = self.golden.of(model, 1)
        row = turn % len(instances)
        try:
            answer = client.post(f"/v1/models/{model}:predict", json={"instances": [instances[row]]})
        except (httpx.ConnectError, httpx.ConnectTimeout):  # an engine drops what goes to a container that has gone
            return "refused", ""
        except httpx.HTTPError as error:
            return "cut off", repr(error)
        if answer.status_code in RETRY_LATER and "retry-after" in answer.headers:
            return "later", f"{answer.status_code} {answer.text[:200]}"
        if answer.status_code != httpx.codes.OK:
            return "other", f"{answer.status_code} {answer.text[:200]}"
        version = int(answer.headers["x-model-version"])
        same, expected = self.golden.of(model, version)
        at = same.index(instances[row])
        said = scores(answer.json()["predictions"][0])
        right = np.allclose(said, np.ravel(expected[at]), atol=TOLERANCE)
        return ("right", "") if right else ("wrong", f"{model} {version}: {said}, not {expected[at]}")

    def _note(self, what: str, detail: str) -> None:
        with self._lock:
            self.seen[what] += 1
            if detail:
                self.examples.append(f"{what}: {detail}")


def scores(prediction: Any) -> Array:
    """Of one row, whether the model has one output or several."""
    found = (
        prediction["probabilities"] if isinstance(prediction, dict) and "probabilities" in prediction else prediction
    )
    if isinstance(found, dict):
        found = next(found[name] for name in ("score", "probability") if name in found)
    return np.ravel(np.asarray(found, dtype=np.float64))
