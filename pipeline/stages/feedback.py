"""Adds feedback to a dataset: most of it to the training split, the newest as data to evaluate on.

The file has one JSON object a line, oldest first: ``dtype`` and ``shape`` of the input (``bytes`` for texts and image
files), its ``content`` in base64, and the ``truth``.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.data import Split
from modelyard.models.inputs import ImageInput, ModelInput, TextInput, VectorInput
from modelyard.models.spec import ModelSpec
from modelyard.models.types import Array
from modelyard.pipeline.progress import Progress, Report
from modelyard.pipeline.results import LoadedDataset
from modelyard.pipeline.stages.data import hash_splits

HELD_OUT_SHARE = 0.2
"""Share of the feedback, the newest, that training does not use."""


def add_feedback(loaded: LoadedDataset, spec: ModelSpec, file: Path, report: Report) -> LoadedDataset:
    """The dataset with the feedback in ``file``. Inputs of the test and validation splits are not trained on.

    Feedback on inputs of another kind than the model's is left out.
    """
    reserved = {hash_input(x) for split in (loaded.splits.test, loaded.splits.validation) for x in split.x}
    examples = [(x, y) for x, y in read_examples(file, spec) if hash_input(x) not in reserved]
    held_out = round(HELD_OUT_SHARE * len(examples))
    older, newest = examples[: len(examples) - held_out], examples[len(examples) - held_out :]
    report(Progress("data", message=f"{len(older)} examples from feedback, and the newest {held_out} to evaluate on"))
    if not examples:
        return loaded
    train = append_examples(loaded.splits.train, older)
    splits = replace(loaded.splits, train=train)
    recent = append_examples(drop_examples(train), newest)
    return replace(loaded, splits=splits, fingerprint=hash_splits(splits), feedback=len(older), recent=recent)


def read_examples(file: Path, spec: ModelSpec) -> Iterator[tuple[Any, float]]:
    """Inputs as the dataset has them, and the true answers."""
    for line in file.read_bytes().splitlines():
        record = orjson.loads(line)
        x = decode_input(record, base64.b64decode(record["content"]), spec.input)
        if x is not None:
            yield x, record["truth"]


def decode_input(record: Mapping[str, Any], content: bytes, kind: ModelInput) -> Any:
    """``str``, ``uint8 [H,W,C]`` or ``float32 [D]``; None if the input is of another kind."""
    if isinstance(kind, TextInput):
        return content.decode(errors="replace") if record["dtype"] == "bytes" else None
    if isinstance(kind, ImageInput):
        return decode_image(record, content, kind)
    return decode_numbers(record, content, (kind.size,)) if isinstance(kind, VectorInput) else None


def decode_image(record: Mapping[str, Any], content: bytes, kind: ImageInput) -> Array | None:
    """An image, decoded and scaled as in the served graph."""
    from modelyard.models.images.decoding import compile_image_decoder

    if record["dtype"] == "bytes":
        image: Array = compile_image_decoder(kind)([content])[0]
        return image
    pixels = decode_numbers(record, content, (kind.height, kind.width, kind.channels))
    return None if pixels is None else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def decode_numbers(record: Mapping[str, Any], content: bytes, shape: tuple[int, ...]) -> Array | None:
    if tuple(record["shape"]) != shape:
        return None
    return np.frombuffer(content, record["dtype"]).reshape(shape).astype(np.float32)


def hash_input(x: Any) -> bytes:
    """Equal for equal inputs."""
    return hashlib.sha256(x.encode() if isinstance(x, str) else np.ascontiguousarray(x).tobytes()).digest()


def append_examples(split: Split, examples: Iterable[tuple[Any, float]]) -> Split:
    """A split with more examples, in its own types."""
    pairs = list(examples)
    if not pairs:
        return split
    x = np.empty(len(pairs), object) if split.x.dtype == object else np.empty((len(pairs), *split.x.shape[1:]))
    for index, (value, _) in enumerate(pairs):
        x[index] = value
    y = np.array([truth for _, truth in pairs])
    return Split(np.concatenate([split.x, x.astype(split.x.dtype)]), np.concatenate([split.y, y.astype(split.y.dtype)]))


def drop_examples(split: Split) -> Split:
    """An empty split of the same types."""
    return Split(split.x[:0], split.y[:0])
