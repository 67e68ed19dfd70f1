"""The worst mistakes of a version on the test split, with their inputs as far as they are small.

The 50 worst stand in ``evaluation.json``; those of each kind, so that none is crowded out, in ``mistakes.jsonl``.
"""

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.data import Inputs, take
from modelyard.models.images.png import encode_png
from modelyard.models.types import Array, Task
from modelyard.pipeline.evaluation.confusion import find_wrong
from modelyard.pipeline.evaluation.metrics import THRESHOLD
from modelyard.pipeline.results import Mistake

MAX_MISTAKES = 50
MAX_KEPT = 2000
"""Mistakes in the file."""
MAX_PER_CELL = 50
"""Of one expected and one received answer."""
MAX_KEPT_BYTES = 8 * 1024**2
MAX_CHARS = 500
"""Characters of a text that are kept."""
MAX_NUMBERS = 64
"""Numbers of a vector that are kept."""
MAX_IMAGE_BYTES = 20_000
"""A larger image is made smaller, and left out if that does not help."""
SMALLEST_SIDE = 8


def list_mistakes(task: Task, labels: Sequence[str], x: Inputs, y: Array, outputs: Array) -> Iterator[Mistake]:
    """The worst first: wrong answers given most surely, or the largest errors."""
    for index in rank_mistakes(task, y, outputs)[:MAX_MISTAKES]:
        yield describe_mistake(task, labels, x, y, outputs, index)


def write_mistakes(path: Path, task: Task, labels: Sequence[str], x: Inputs, y: Array, outputs: Array) -> None:
    """Writes mistakes of each kind, one a line as JSON, the worst first. As many as are kept, and fit into a file."""
    ranked = rank_mistakes(task, y, outputs)
    lines: dict[int, bytes] = {}
    size = 0
    for place in take_turns(find_cells(task, y, outputs, ranked))[:MAX_KEPT]:
        mistake = describe_mistake(task, labels, x, y, outputs, ranked[place])
        line = mistake.model_dump_json().encode() + b"\n"
        size += len(line)
        if size > MAX_KEPT_BYTES:
            break
        lines[int(place)] = line
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines[place] for place in sorted(lines)))


def take_turns(cells: Array) -> Array:
    """Places in ``cells``, the first of each cell before the second of any; of none more than ``MAX_PER_CELL``.

    Args:
        cells: of mistakes, the worst first; negative where there are no cells.
    """
    if not len(cells) or cells[0] < 0:
        return np.arange(len(cells))
    by_cell = np.argsort(cells, kind="stable")
    _, starts, counts = np.unique(cells[by_cell], return_index=True, return_counts=True)
    turn = np.empty(len(cells), int)
    turn[by_cell] = np.arange(len(cells)) - np.repeat(starts, counts)
    order: Array = np.argsort(turn, kind="stable")
    return order[turn[order] < MAX_PER_CELL]


def find_cells(task: Task, y: Array, outputs: Array, ranked: Array) -> Array:
    """A number for each mistake's kind: expected and received class; of several labels, the one that is most wrong."""
    found: Array = np.full(len(ranked), -1)
    if task in ("multiclass", "binary"):
        found = y[ranked].astype(np.int64) * outputs.shape[1] + outputs[ranked].argmax(axis=1)
    elif task == "multilabel":
        worst = np.abs(outputs[ranked] - y[ranked]).argmax(axis=1)
        found = worst * 2 + (y[ranked, worst] > THRESHOLD)
    return found


def describe_mistake(task: Task, labels: Sequence[str], x: Inputs, y: Array, outputs: Array, index: Any) -> Mistake:
    return Mistake(
        example=int(index),
        expected=describe_target(task, labels, y[index]),
        received=describe_answer(task, labels, outputs[index]),
        score=read_score(task, outputs[index]),
        input=describe_input(take(x, index)),
    )


def rank_mistakes(task: Task, y: Array, outputs: Array) -> Array:
    """Indices of wrong answers, the worst first; of numbers, all answers that are not exact."""
    if task == "regression":
        cost = np.abs(outputs - y.reshape(outputs.shape)).max(axis=1)
        wrong = cost > 0
    elif (found := find_wrong(task, y, outputs)) is not None:
        wrong, cost = found, measure_cost(task, y, outputs)
    else:
        return np.array([], int)
    order = np.argsort(-cost, kind="stable")
    ranked: Array = order[wrong[order]]
    return ranked


def measure_cost(task: Task, y: Array, outputs: Array) -> Array:
    """How bad each answer is, if it is wrong: how sure it was."""
    if task == "text":
        return np.zeros(len(y))
    found: Array = np.abs(outputs - y).max(axis=1) if task == "multilabel" else outputs.max(axis=1)
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
    """``{"png": base64}``; None if the file is too large even at half, a quarter, ... of its size."""
    while len(content := encode_png(pixels)) > MAX_IMAGE_BYTES:
        if min(pixels.shape[:2]) < 2 * SMALLEST_SIDE:
            return None
        pixels = halve(pixels)
    return {"png": base64.b64encode(content).decode()}


def halve(pixels: Array) -> Array:
    """Half the height and width: the mean of each four pixels."""
    height, width = (side // 2 for side in pixels.shape[:2])
    blocks = pixels[: height * 2, : width * 2].reshape(height, 2, width, 2, -1)
    found: Array = blocks.mean(axis=(1, 3)).astype(np.uint8)
    return found


def json_numbers(values: Any) -> Any:
    """Numbers, or nested lists of them, with None for those that JSON has no form for."""
    if isinstance(values, list):
        return [json_numbers(value) for value in values]
    return values if math.isfinite(values) else None
