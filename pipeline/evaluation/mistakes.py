"""The worst mistakes of a version on the test split, with their inputs as far as they are small."""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.models.data import Inputs, take
from modelyard.models.images.png import encode_png
from modelyard.models.types import Array, Task
from modelyard.pipeline.evaluation.metrics import THRESHOLD
from modelyard.pipeline.results import Mistake

MAX_MISTAKES = 50
MAX_CHARS = 500
"""Characters of a text that are kept."""
MAX_NUMBERS = 64
"""Numbers of a vector that are kept."""
MAX_IMAGE_BYTES = 20_000
"""A larger image is left out."""


def list_mistakes(task: Task, labels: Sequence[str], x: Inputs, y: Array, outputs: Array) -> Iterator[Mistake]:
    """The worst first: wrong answers given most surely, or the largest errors."""
    for index in rank_mistakes(task, y, outputs)[:MAX_MISTAKES]:
        yield Mistake(
            example=int(index),
            expected=describe_target(task, labels, y[index]),
            received=describe_answer(task, labels, outputs[index]),
            score=read_score(task, outputs[index]),
            input=describe_input(take(x, index)),
        )


def rank_mistakes(task: Task, y: Array, outputs: Array) -> Array:
    """Indices of wrong answers, the worst first; of numbers, all answers that are not exact."""
    if task in ("multiclass", "binary"):
        wrong = outputs.argmax(axis=1) != y
        cost = outputs.max(axis=1)
    elif task == "multilabel":
        wrong = ((outputs >= THRESHOLD) != (y > THRESHOLD)).any(axis=1)
        cost = np.abs(outputs - y).max(axis=1)
    elif task == "regression":
        cost = np.abs(outputs - y.reshape(outputs.shape)).max(axis=1)
        wrong = cost > 0
    elif task == "text":
        wrong = outputs.astype(str) != y.astype(str)
        cost = wrong.astype(float)
    else:
        return np.array([], int)
    order = np.argsort(-cost, kind="stable")
    found: Array = order[wrong[order]]
    return found


def describe_target(task: Task, labels: Sequence[str], target: Any) -> Any:
    """The true answer as people read it: a label, labels, a number, numbers by name, or a text."""
    if task in ("multiclass", "binary"):
        return labels[int(target)]
    if task == "multilabel":
        return [label for label, given in zip(labels, target, strict=True) if given > THRESHOLD]
    return describe_numbers(labels, np.atleast_1d(target)) if task == "regression" else str(target)[:MAX_CHARS]


def describe_answer(task: Task, labels: Sequence[str], answer: Any) -> Any:
    """The version's answer in the same form."""
    return describe_target(task, labels, answer.argmax() if task in ("multiclass", "binary") else answer)


def describe_numbers(labels: Sequence[str], values: Array) -> Any:
    numbers = [float(value) for value in values]
    return dict(zip(labels, numbers, strict=True)) if labels else numbers[0]


def read_score(task: Task, answer: Any) -> float | None:
    """The probability that the version gave its answer; None where there is none."""
    return float(answer.max()) if task in ("multiclass", "binary") else None


def describe_input(value: Any) -> Any:
    """An input as JSON: a text cut short, numbers, a small image as base64 of a PNG file; None if it is too large."""
    if isinstance(value, Mapping):
        return {name: describe_input(one) for name, one in value.items()}
    if isinstance(value, str):
        return value[:MAX_CHARS]
    array = np.asarray(value)
    if array.dtype == np.uint8 and array.ndim == 3:  # noqa: PLR2004  # height, width, channels
        return describe_image(array)
    if array.size > MAX_NUMBERS:
        return None
    return json_numbers(array.astype(float).tolist())


def describe_image(pixels: Array) -> Any:
    """``{"png": base64}``, or None if the file is too large."""
    content = encode_png(pixels)
    return {"png": base64.b64encode(content).decode()} if len(content) <= MAX_IMAGE_BYTES else None


def json_numbers(values: Any) -> Any:
    """Numbers, or nested lists of them, with None for those that JSON has no form for."""
    if isinstance(values, list):
        return [json_numbers(value) for value in values]
    return values if math.isfinite(values) else None
