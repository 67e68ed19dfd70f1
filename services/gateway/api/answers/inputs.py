"""The inputs of captured predictions: as people see them, and as a version takes them again."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import Field

from modelyard.models.errors import UnknownName
from modelyard.models.inputs import name_encoded_image
from modelyard.models.registry.inputs import captured_input
from modelyard.models.registry.inputs.example_body import encode_png
from modelyard.models.registry.manifest import Manifest, NamedLimits, SignatureSpec
from modelyard.models.types import Array
from modelyard.services.gateway.codecs.images import recognize
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.ledger.feedback import CapturedPrediction

MAX_NUMBERS = 256
"""Of a vector or sequence, as many as are shown."""
PICTURES = ("image/png", "image/jpeg")
IMAGE_RANK = 3


class InputValue(Body):
    """One input of a captured prediction."""

    name: str
    """Empty of a model's only input."""
    title: str
    kind: str
    value: Any = Field(description="A text, a number, or up to 256 numbers in a row; null: missing, or a picture.")
    picture: str | None = Field(description="Where the picture is, as PNG or JPEG.")


def describe_inputs(answer: CapturedPrediction, manifest: Manifest) -> list[InputValue]:
    """Each input, in the order of the data."""
    return [
        describe_value(answer, name, title, kind, value)
        for name, (title, kind, value) in read_values(answer, manifest).items()
    ]


def describe_value(answer: CapturedPrediction, name: str, title: str, kind: str, value: Any) -> InputValue:
    if is_picture(kind, value):
        where = f"/api/answers/{quote(answer.request_id, safe='')}/input?row={answer.row}&name={quote(name, safe='')}"
        return InputValue(name=name, title=title, kind="image", value=None, picture=where)
    return InputValue(name=name, title=title, kind=kind, value=to_plain(value), picture=None)


def read_picture(answer: CapturedPrediction, manifest: Manifest, name: str) -> tuple[str, bytes]:
    """Content type and file of an input that is a picture.

    Args:
        name: of the input; empty for the only one.

    Raises:
        UnknownName: there is no such input, or it is no picture.
    """
    _, kind, value = read_values(answer, manifest).get(name, ("", "", None))
    if not is_picture(kind, value):
        raise UnknownName(f"no picture {name[:64]!r} among the inputs of this prediction")
    if isinstance(value, bytes):
        return str(recognize(value)), value
    return "image/png", encode_png(np.clip(value, 0, 255))


def read_values(answer: CapturedPrediction, manifest: Manifest) -> Mapping[str, tuple[str, str, Any]]:
    """By name, the title, kind and value of each input."""
    if answer.dtype != captured_input.DTYPE:
        kind = manifest.input.kind if manifest.input else "tensor"
        return {"": (answer.input, kind, read_row(answer)[answer.input])}
    row, limits = captured_input.decode_row(answer.content), manifest.input
    if not isinstance(limits, NamedLimits):
        return {name: (name, "tensor", value) for name, value in row.items()}
    return {
        name: (
            getattr(one, "title", "") or name,
            one.kind,
            row.get(name, row.get(name_encoded_image(name, limits.inputs))),
        )
        for name, one in limits.inputs.items()
    }


def is_picture(kind: str, value: Any) -> bool:
    if isinstance(value, bytes):
        return recognize(value) in PICTURES
    return kind == "image" and isinstance(value, np.ndarray) and value.ndim == IMAGE_RANK


def to_plain(value: Any) -> Any:
    """JSON for people: bytes as text, few numbers of many."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if not isinstance(value, np.ndarray):
        return None if isinstance(value, float) and not np.isfinite(value) else value
    numbers = [number if np.isfinite(number) else None for number in value.reshape(-1)[:MAX_NUMBERS].tolist()]
    return numbers if value.ndim else numbers[0]


# --- as a version takes them ------------------------------------------------------------------------------------------


def read_row(answer: CapturedPrediction) -> dict[str, Any]:
    """Values by the names of tensors: arrays, bytes, texts and numbers."""
    if answer.dtype == captured_input.DTYPE:
        return dict(captured_input.decode_row(answer.content))
    if answer.dtype == "bytes":
        return {answer.input: answer.content}
    return {answer.input: np.frombuffer(answer.content, answer.dtype).reshape(answer.shape)}


def find_signature(row: Mapping[str, Any], signatures: Mapping[str, SignatureSpec]) -> str | None:
    """The signature that takes just these tensors."""
    return next(
        (name for name, spec in signatures.items() if {tensor.name for tensor in spec.inputs} == row.keys()), None
    )


def stack_rows(rows: list[dict[str, Any]], signature: SignatureSpec) -> dict[str, Array]:
    """Arrays ``[rows, …]`` of each tensor; raises ``ValueError`` if rows differ in shape."""
    return {spec.name: stack_values([row[spec.name] for row in rows], spec.dtype) for spec in signature.inputs}


def stack_values(values: list[Any], dtype: str) -> Array:
    if dtype != "string":
        return np.stack([np.asarray(value, dtype) for value in values])
    found = np.empty(len(values), dtype=object)
    found[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return found
