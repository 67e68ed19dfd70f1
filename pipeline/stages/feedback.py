"""Joins what people said of answers to a dataset: most of it to the training split, the newest to be measured on.

The file has one JSON object a line, oldest first: ``dtype`` and ``shape`` of the input (``bytes`` for texts and image
files), its ``content`` in base64, and what is true.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.spec import ImageInput, ModelInput, ModelSpec, Split, TextInput
from modelyard.models.types import Array
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import Loaded
from modelyard.pipeline.stages.data import fingerprint

HELD_OUT = 0.2
"""Share of the feedback, the newest, that is not trained on."""


def join(loaded: Loaded, spec: ModelSpec, file: Path, report: Report) -> Loaded:
    """The dataset with the feedback in ``file``. Inputs of the test and validation splits are not trained on.

    What was said of inputs that the model does not take in this form is left out.
    """
    looked_at = {digest(x) for split in (loaded.splits.test, loaded.splits.validation) for x in split.x}
    told = [(x, y) for x, y in examples(file, spec) if digest(x) not in looked_at]
    held_out = round(HELD_OUT * len(told))
    older, newest = told[: len(told) - held_out], told[len(told) - held_out :]
    report(Progress("data", message=f"{len(older)} examples from feedback, and the newest {held_out} to measure on"))
    if not told:
        return loaded
    train = appended(loaded.splits.train, older)
    splits = replace(loaded.splits, train=train)
    recent = appended(emptied(train), newest)
    return replace(loaded, splits=splits, fingerprint=fingerprint(splits), feedback=len(older), recent=recent)


def examples(file: Path, spec: ModelSpec) -> Iterator[tuple[Any, float]]:
    """Inputs as the dataset has them, and what is true."""
    for line in file.read_bytes().splitlines():
        told = orjson.loads(line)
        x = raw(told, base64.b64decode(told["content"]), spec.input)
        if x is not None:
            yield x, told["truth"]


def raw(told: Mapping[str, Any], content: bytes, kind: ModelInput) -> Any:
    """``str``, ``uint8 [H,W,1]`` or ``float32 [D]``; None if it is nothing of the kind."""
    if isinstance(kind, TextInput):
        return content.decode(errors="replace") if told["dtype"] == "bytes" else None
    if isinstance(kind, ImageInput):
        return pixels(told, content, (kind.height, kind.width))
    return numbers(told, content, (kind.size,))


def pixels(told: Mapping[str, Any], content: bytes, size: tuple[int, int]) -> Array | None:
    """An image, decoded and scaled as the served graph does it."""
    from modelyard.pipeline.signatures import image_decoder

    image = image_decoder(size)(content).numpy() if told["dtype"] == "bytes" else numbers(told, content, (*size, 1))
    return None if image is None else np.clip(np.rint(image), 0, 255).astype(np.uint8)


def numbers(told: Mapping[str, Any], content: bytes, shape: tuple[int, ...]) -> Array | None:
    if tuple(told["shape"]) != shape:
        return None
    return np.frombuffer(content, told["dtype"]).reshape(shape).astype(np.float32)


def digest(x: Any) -> bytes:
    """Equal for equal inputs."""
    return hashlib.sha256(x.encode() if isinstance(x, str) else np.ascontiguousarray(x).tobytes()).digest()


def appended(split: Split, told: Iterable[tuple[Any, float]]) -> Split:
    """A split and further examples, of its own types."""
    pairs = list(told)
    if not pairs:
        return split
    x = np.empty(len(pairs), object) if split.x.dtype == object else np.empty((len(pairs), *split.x.shape[1:]))
    for index, (value, _) in enumerate(pairs):
        x[index] = value
    y = np.array([truth for _, truth in pairs])
    return Split(np.concatenate([split.x, x.astype(split.x.dtype)]), np.concatenate([split.y, y.astype(split.y.dtype)]))


def emptied(split: Split) -> Split:
    """Of the same types, without examples."""
    return Split(split.x[:0], split.y[:0])
