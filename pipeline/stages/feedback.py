"""Adds feedback to a dataset: most of it to the training split, the newest as data to evaluate on.

The file has one JSON object a line, oldest first: ``dtype`` and ``shape`` of the input (``bytes`` for texts and image
files, ``json`` for several inputs), its ``content`` in base64, and the ``truth``.
"""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from modelyard.models.data import Inputs, Split, list_rows, take
from modelyard.models.inputs import (
    CategoryInput,
    DateInput,
    ImageInput,
    ModelInput,
    NumberInput,
    OneInput,
    SequenceInput,
    TextInput,
    VectorInput,
    name_encoded_image,
)
from modelyard.models.registry.inputs.captured_input import DTYPE, decode_row
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
    held_back = (loaded.splits.test, loaded.splits.validation)
    reserved = {hash_input(x) for split in held_back for x in list_rows(split.x)}
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
    """As the dataset has it, several by name; None if the input is of another kind."""
    if isinstance(kind, Mapping):
        return decode_inputs(decode_row(content), kind) if record["dtype"] == DTYPE else None
    return decode_one(record["dtype"], record["shape"], content, kind)


def decode_inputs(row: Mapping[str, Any], kinds: Mapping[str, OneInput]) -> dict[str, Any] | None:
    """Inputs by name; None unless all are there."""
    found = {}
    for name, kind in kinds.items():
        value = row.get(name, row.get(name_encoded_image(name, kinds)))
        found[name] = None if value is None else decode_value(value, kind)
    return None if any(value is None for value in found.values()) else found


def decode_value(value: Any, kind: OneInput) -> Any:
    """One of several inputs, as ``captured_input`` reads it: a text, a number, a file or an array."""
    if isinstance(value, float):
        return np.float32(value) if isinstance(kind, NumberInput) else None
    if isinstance(value, str | bytes):
        return decode_one("bytes", (), value.encode() if isinstance(value, str) else value, kind)
    return decode_one(value.dtype.name, value.shape, value.tobytes(), kind)


def decode_one(dtype: str, shape: Sequence[int], content: bytes, kind: OneInput) -> Any:
    """``str``, ``uint8 [H,W,C]``, ``float32 [D]`` or ``[T,D]``, or a number; None if it is none of this kind."""
    if isinstance(kind, TextInput | CategoryInput | DateInput):
        return content.decode(errors="replace") if dtype == "bytes" else None
    if isinstance(kind, ImageInput):
        return decode_image(dtype, shape, content, kind)
    return decode_numbers(dtype, content, shape) if dtype != "bytes" and has_shape(kind, shape) else None


def has_shape(kind: VectorInput | SequenceInput | NumberInput, shape: Sequence[int]) -> bool:
    """Whether one input may have this shape; a sequence any number of steps."""
    wanted = (kind.size,) if isinstance(kind, VectorInput) else ()
    return tuple(shape) == ((*shape[:1], kind.size) if isinstance(kind, SequenceInput) else wanted)


def decode_image(dtype: str, shape: Sequence[int], content: bytes, kind: ImageInput) -> Array | None:
    """An image, decoded and scaled as in the served graph."""
    from modelyard.models.images.decoding import compile_image_decoder

    if dtype == "bytes":
        image: Array = compile_image_decoder(kind)([content])[0]
        return image
    if tuple(shape) != (kind.height, kind.width, kind.channels):
        return None
    return np.clip(np.rint(decode_numbers(dtype, content, shape)), 0, 255).astype(np.uint8)


def decode_numbers(dtype: str, content: bytes, shape: Sequence[int]) -> Array:
    return np.frombuffer(content, dtype).reshape(shape).astype(np.float32)


def hash_input(x: Any) -> bytes:
    """Equal for equal inputs."""
    if isinstance(x, Mapping):
        return hashlib.sha256(b"".join(hash_input(x[name]) for name in sorted(x))).digest()
    return hashlib.sha256(x.encode() if isinstance(x, str) else np.ascontiguousarray(x).tobytes()).digest()


def append_examples(split: Split, examples: Iterable[tuple[Any, float]]) -> Split:
    """A split with more examples, in its own types; without those of another shape, as sequences of another length."""
    pairs = [(x, truth) for x, truth in examples if fits(x, split.x)]
    if not pairs:
        return split
    y = np.array([truth for _, truth in pairs])
    return Split(append([x for x, _ in pairs], split.x), np.concatenate([split.y, y.astype(split.y.dtype)]))


def fits(x: Any, held: Inputs) -> bool:
    """Whether an input has the shape of those that a split holds."""
    if isinstance(held, Mapping):
        return all(fits(x[name], array) for name, array in held.items())
    return isinstance(x, str) or np.shape(x) == held.shape[1:]


def append(values: Sequence[Any], held: Inputs) -> Inputs:
    """Inputs, or inputs by name, with more behind them."""
    if isinstance(held, Mapping):
        return {name: append_array([x[name] for x in values], array) for name, array in held.items()}
    return append_array(values, held)


def append_array(values: Sequence[Any], held: Array) -> Array:
    found = np.empty(len(values), object) if held.dtype == object else np.empty((len(values), *held.shape[1:]))
    for index, value in enumerate(values):
        found[index] = value
    return np.concatenate([held, found.astype(held.dtype)])


def drop_examples(split: Split) -> Split:
    """An empty split of the same types."""
    return Split(take(split.x, slice(0)), split.y[:0])
