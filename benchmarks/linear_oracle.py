"""Predictions of ``neuron`` with their right answers, computed from each version's weights by hand: ``y = w x + b``."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import orjson

from benchmarks.generator import Answer
from benchmarks.serving.answers import instances_body, request

MODEL = "neuron"
WEIGHTS = "assets.extra/model.weights.h5"
TOLERANCE = 1e-5
HEADER = b"\r\nx-model-version:"
RETRY_LATER = (429, 503)


@dataclass
class Predictions:
    """Requests, each with another number, and what came of them."""

    port: int
    store: Path
    random: random.Random
    asked: int = 0
    right: list[float] = field(default_factory=list)
    """When the requests with a right response were due; of ``time.perf_counter``."""
    refused: int = 0
    """503 or 429, with Retry-After."""
    late: int = 0
    """504: the deadline passed."""
    wrong: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    """Any other status."""
    versions: Counter[int] = field(default_factory=Counter)
    _lines: dict[int, tuple[np.float32, np.float32]] = field(default_factory=dict)

    def next(self) -> tuple[float, bytes]:
        self.asked += 1
        number = round(self.random.uniform(-10, 10), 6)
        body = instances_body([number])
        return number, request(self.port, f"/v1/models/{MODEL}:predict", "application/json", body)

    def judge(self, answer: Answer) -> None:
        if answer.status == 200:
            self._compare(answer)
        elif answer.status in RETRY_LATER and b"\r\nretry-after:" in answer.head:
            self.refused += 1
        elif answer.status == 504:
            self.late += 1
        else:
            self.other[f"{answer.status} {answer.body[:100].decode(errors='replace')}"] += 1

    def _compare(self, answer: Answer) -> None:
        version = int(answer.head.partition(HEADER)[2].partition(b"\r\n")[0] or 0)
        (row,) = orjson.loads(answer.body)["predictions"]
        (said,) = np.ravel(row["value"])
        expected = self._expected(version, answer.key)
        if expected is None or abs(said - expected) > TOLERANCE * max(1.0, abs(expected)):
            self.wrong[f"version {version}"] += 1
        else:
            self.right.append(answer.due)
            self.versions[version] += 1

    def _expected(self, version: int, number: float) -> float | None:
        """None if there is no such version."""
        try:
            if version not in self._lines:
                self._lines[version] = line_of(self.store / MODEL / str(version) / WEIGHTS)
        except OSError:
            return None
        weight, bias = self._lines[version]
        return float(weight * np.float32(number) + bias)


def line_of(weights: Path) -> tuple[np.float32, np.float32]:
    """Slope and offset, from the file alone: no Keras, no TensorFlow."""
    found: dict[tuple[int, ...], np.float32] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.startswith("layers/"):  # the optimizer's are there too
            found[item.shape] = np.float32(item[()].ravel()[0])

    with h5py.File(weights) as file:
        file.visititems(collect)
    return found[1, 1], found[1,]
