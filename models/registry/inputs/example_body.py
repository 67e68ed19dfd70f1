"""A body of ``:predict`` for a version's example: short enough to be pasted, and answered as it is. Slim."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from modelyard.models.inputs import name_encoded_image
from modelyard.models.registry.manifest import Manifest, NamedLimits, OneLimits

IMAGE_BYTES = "image_bytes"
"""The signature that takes images as files."""
IMAGE_RANK = 3
MAX_CHARS = 32_768
MAX_NUMBERS = 4096
"""Of an example that is numbers; a longer one is no use to people."""


def make_example_body(manifest: Manifest) -> dict[str, Any] | None:
    """The row form with one instance, images as files in base64; None for an example of very many numbers."""
    if manifest.input is None:
        return make_own_body(manifest)
    inputs = manifest.input.inputs if isinstance(manifest.input, NamedLimits) else {"": manifest.input}
    named = isinstance(manifest.input, NamedLimits)
    example = manifest.example if named else {"": manifest.example}
    if not isinstance(example, Mapping) or example.keys() != inputs.keys() or not is_usable(example, inputs):
        return None
    encoded = IMAGE_BYTES in manifest.signatures and any(one.kind == "image" for one in inputs.values())
    values = {
        name_encoded_image(name, inputs) if encoded and one.kind == "image" else name: encode_value(
            example[name], one, encoded=encoded
        )
        for name, one in inputs.items()
    }
    body: dict[str, Any] = {"instances": [values if named else next(iter(values.values()))]}
    return {"signature_name": IMAGE_BYTES} | body if encoded else body


def make_own_body(manifest: Manifest) -> dict[str, Any] | None:
    """Of an imported version, whose example is a row of its default signature, if it has one."""
    known = "serving_default" in manifest.signatures and manifest.example is not None
    body = {"instances": [manifest.example]}
    return body if known and len(json.dumps(body)) <= MAX_CHARS else None


def is_usable(example: Mapping[str, Any], inputs: Mapping[str, OneLimits]) -> bool:
    """Whether images are images, and other numbers are few."""
    return all(
        np.ndim(example[name]) == IMAGE_RANK if one.kind == "image" else np.size(example[name]) <= MAX_NUMBERS
        for name, one in inputs.items()
    )


def encode_value(value: Any, limits: OneLimits, *, encoded: bool) -> Any:
    if limits.kind != "image" or not encoded:
        return value
    return {"b64": base64.b64encode(encode_png(value)).decode()}


def encode_png(pixels: Any) -> bytes:
    """A PNG of ``[height, width, channels]`` with values 0..255: grey, colour, or colour with transparency."""
    from PIL import Image  # only where there are images

    array = np.array(pixels, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(buffer, format="png")
    return buffer.getvalue()
