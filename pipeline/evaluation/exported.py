"""An exported version, loaded: its signatures, all its predictions, its latency."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.data import Inputs, count_examples, take
from modelyard.models.types import Array
from modelyard.pipeline.golden import find_output, has_answers, input_key, load_golden, max_difference
from modelyard.pipeline.processes.stage_process import print_progress
from modelyard.pipeline.progress import Progress

DEFAULT, EXPLAIN = "serving_default", "explain"
BATCH = 128
PREDICTIONS = ("probabilities", "value", "text")
"""Outputs that are compared with the targets: the one that a task has."""


class Signature:
    """A loaded signature: a function from raw inputs to named arrays."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.inputs: dict[str, Any] = dict(function.structured_input_signature[1])
        """``tf.TensorSpec`` by name."""

    def __call__(self, batch: Inputs) -> dict[str, Array]:
        """``batch``: numbers, or texts as ``str`` or ``bytes``; of several inputs by name."""
        named = batch if isinstance(batch, Mapping) else dict.fromkeys(self.inputs, batch)
        given = {name: self._to_tensor(named[name], spec.dtype) for name, spec in self.inputs.items()}
        return {name: value.numpy() for name, value in self._function(**given).items()}

    def _to_tensor(self, array: Array, dtype: Any) -> Any:
        import tensorflow as tf

        return tf.constant(array.tolist(), dtype) if array.dtype == object else tf.constant(array, dtype)


def measure_golden_difference(loaded: Any, folder: Path) -> float:
    """Maximum absolute difference of any output from the golden one, over all signatures that have such."""
    golden_arrays = load_golden(folder)
    worst = 0.0
    for name, function in loaded.signatures.items():
        if not has_answers(golden_arrays, name):
            continue
        signature = Signature(function)
        outputs = signature({key: golden_arrays[input_key(name, key)] for key in signature.inputs})
        gaps = (max_difference(value, find_output(golden_arrays, name, out)) for out, value in outputs.items())
        worst = max(worst, *gaps)
    return worst


def find_broken_explanation(loaded: Any, folder: Path) -> str | None:
    """The output of ``explain`` that is not finite for a golden input; None if all is well, or there is no ``explain``.

    Raises:
        tf.errors.OpError: the graph cannot explain it.
    """
    golden_arrays = load_golden(folder)
    if EXPLAIN not in loaded.signatures or has_answers(golden_arrays, EXPLAIN):
        return None
    signature = Signature(loaded.signatures[EXPLAIN])
    found = signature({name: golden_arrays[input_key(DEFAULT, name)][:1] for name in signature.inputs})
    numbers = {name: value for name, value in found.items() if value.dtype.kind == "f"}
    return next((name for name, value in numbers.items() if not np.isfinite(value).all()), None)


def predict_all(signature: Signature, x: Inputs, who: str) -> Array:
    """Probabilities ``[N,C]``, values ``[N,K]`` or texts ``[N]`` of every example, in order; ``[N,0]`` of others."""
    return choose_prediction(run_all(signature, x, who))


def run_all(signature: Signature, x: Inputs, who: str) -> dict[str, Array]:
    """All outputs of every example, in order.

    Texts are batched by length, so that a batch is padded to its own longest text only.
    """
    count, order = count_examples(x), sort_by_length(x)
    parts = []
    for start in range(0, count, BATCH):
        parts.append(signature(take(x, order[start : start + BATCH])))
        if start // BATCH % 16 == 0:
            print_progress(Progress("evaluate", message=f"testing {who}", step=start, steps=count))
    back = np.argsort(order)
    return {name: _concatenate([part[name] for part in parts])[back] for name in parts[0]}


def _concatenate(parts: list[Array]) -> Array:
    """Rows of all batches; of outputs whose rows have other sizes in each, objects."""
    if len({part.shape[1:] for part in parts}) == 1:
        return np.concatenate(parts)
    rows = np.empty(sum(map(len, parts)), dtype=object)
    rows[:] = [row for part in parts for row in part]
    return rows


def choose_prediction(outputs: Mapping[str, Array]) -> Array:
    """The output that a task compares with its targets; ``[n,0]`` if there is none."""
    for name in PREDICTIONS:
        if name in outputs:
            return decode_texts(outputs[name])
    return np.empty((len(next(iter(outputs.values()))), 0))


def decode_texts(values: Array) -> Array:
    """Bytes as ``str``; numbers as they are."""
    if values.dtype != object:
        return values
    return np.array([content.decode(errors="replace") for content in values], dtype=object)


def sort_by_length(x: Inputs) -> Array:
    """Indices that sort single texts by length; the order as it is for other inputs."""
    if isinstance(x, Mapping) or x.dtype != object:
        return np.arange(count_examples(x))
    return np.argsort([len(text) for text in x], kind="stable")


def measure_latency(signature: Signature, x: Inputs, size: int, calls: int) -> float:
    """Median milliseconds of one call with ``size`` examples of median length."""
    middle = max(0, count_examples(x) // 2 - size // 2)
    batch = take(x, sort_by_length(x)[middle : middle + size])
    return measure_median_ms(lambda: signature(batch), calls)


def measure_median_ms(call: Callable[[], object], calls: int) -> float:
    """Median milliseconds of a call, after one for warm-up."""
    call()
    times = []
    for _ in range(calls):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e3)
