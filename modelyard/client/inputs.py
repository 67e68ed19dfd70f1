"""Inputs of predictions, as people hold them, to bodies of ``:predict``.

NumPy, Pillow and pandas are known by what their objects do: none is imported.
"""

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

from modelyard.client.errors import InvalidInput

MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"RIFF": "image/webp",
}
"""First bytes of image files. The gateway says which of them it takes."""
IMAGE_SIGNATURE, DEFAULT_SIGNATURE = "image_bytes", "serving_default"
MAX_INSTANCES, MAX_BYTES, MAX_VALUES, MAX_PIXELS = 256, 8_000_000, 262_144, 64_000_000
"""Of one request, as gateways limit them unless set otherwise."""
UNKNOWN_PIXELS = 4_000_000
"""Of an image whose header is not read: as many as one may have."""
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
CHANNELS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's colour types."""
IMAGE_DIMENSIONS = (2, 3)


@dataclass(frozen=True)
class Instance:
    """One input as JSON, and what of the limits it takes."""

    content: bytes
    signature: str
    values: int = 1
    pixels: int = 0


def read_image(given: object) -> bytes | None:
    """The file of an image: a path, bytes, a Pillow image, or an array of uint8 with 1 to 4 channels; None of others.

    Raises:
        InvalidInput: a path that cannot be read, or that holds no image.
    """
    if isinstance(given, Path):
        return _read_path(given)
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if hasattr(given, "save") and hasattr(given, "mode"):
        return _encode_pillow(given)
    if _is_pixels(given):
        return encode_png(given)
    return None


def find_type(content: bytes) -> str:
    """The content type of an image file; raises ``InvalidInput`` if it is none."""
    for magic, found in MAGIC.items():
        if content.startswith(magic):
            return found
    raise InvalidInput(
        f"expected an image, received {len(content)} bytes that begin with {content[:8]!r}; a text is given as str"
    )


def _read_path(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from None
    try:
        find_type(content)
    except InvalidInput:
        raise InvalidInput(f"{path}: expected an image; a text is given as str, a table as rows by name") from None
    return content


def _encode_pillow(image: Any) -> bytes:
    file = BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(file, "PNG")
    return file.getvalue()


def _is_pixels(given: object) -> bool:
    shape = getattr(given, "shape", None)
    if str(getattr(given, "dtype", "")) != "uint8" or not shape or len(shape) not in IMAGE_DIMENSIONS:
        return False
    return 0 not in shape and (len(shape) == IMAGE_DIMENSIONS[0] or shape[2] in CHANNELS)


def encode_png(pixels: Any) -> bytes:
    """An array of uint8, [height, width] or [height, width, channels], as a PNG file."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if len(pixels.shape) == IMAGE_DIMENSIONS[1] else 1
    content, row = pixels.tobytes(), width * channels
    lines = b"".join(b"\0" + content[start : start + row] for start in range(0, len(content), row))
    head = struct.pack(">IIBBBBB", width, height, 8, CHANNELS[channels], 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def count_pixels(image: bytes) -> int:
    """Of a PNG; of others as many as one may have."""
    if not image.startswith(b"\x89PNG"):
        return UNKNOWN_PIXELS
    width, height = struct.unpack(">II", image[16:24].ljust(8, b"\0"))
    return int(width * height)


# --- JSON -------------------------------------------------------------------------------------------------------------


def encode_instance(given: object) -> Instance:
    """One input as JSON: a text, a number, a list or array of numbers, a row by name, or an image.

    Raises:
        InvalidInput: it is none of these, or has numbers that are not finite.
    """
    image = read_image(given)
    if image is not None:
        find_type(image)
        return Instance(_dump(_base64(image)), IMAGE_SIGNATURE, 2, count_pixels(image))
    if isinstance(given, Mapping):
        row = {str(name): read_value(value) for name, value in given.items()}
        files = any(isinstance(value, dict) and "b64" in value for value in row.values())
        signature = IMAGE_SIGNATURE if files else DEFAULT_SIGNATURE
        pixels = sum(UNKNOWN_PIXELS for value in row.values() if isinstance(value, dict))
        return Instance(_dump(row), signature, len(row) + sum(map(count_values, row.values())), pixels)
    if hasattr(given, "columns") or hasattr(given, "to_dicts"):
        raise InvalidInput("expected one input, received a table; `predict_many` takes all its rows")
    value = read_value(given)
    return Instance(_dump(value), DEFAULT_SIGNATURE, count_values(value))


def read_value(value: object) -> Any:
    """A value as JSON has it: NaN and NA are null, images are files in base64, arrays are lists."""
    image = read_image(value)
    if image is not None:
        find_type(image)
        return _base64(image)
    if not hasattr(value, "tolist") and hasattr(value, "numpy"):  # TensorFlow's tensors
        value = value.numpy()
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        value = value.tolist()
    if value is None or _is_missing(value):
        return None
    return value.isoformat() if isinstance(value, date) else value


def _is_missing(value: object) -> bool:
    if type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124  # only NaN is not itself


def count_values(value: object) -> int:
    """Values in nested lists."""
    return sum(map(count_values, value)) if isinstance(value, list | tuple) else 1


def _base64(image: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(image).decode()}


def _dump(value: object) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=read_value).encode()
    except (TypeError, ValueError) as error:
        wanted = "a text, numbers that are finite, a row by name, or an image"
        raise InvalidInput(f"expected {wanted}, received {type(value).__name__}: {error}") from None


# --- several ----------------------------------------------------------------------------------------------------------


def list_rows(given: object) -> Iterator[object]:
    """Each of several inputs: of an iterable, or of a table of pandas or Polars.

    Raises:
        InvalidInput: one input, or none of these.
    """
    if hasattr(given, "to_dicts"):
        given = given.to_dicts()
    elif hasattr(given, "to_dict") and hasattr(given, "columns"):
        given = given.to_dict(orient="records")
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidInput(f"expected several inputs, received {type(given).__name__}; `predict` takes one")
    return iter(given)


def split(instances: Iterable[Instance], most: int = MAX_INSTANCES) -> Iterator[list[Instance]]:
    """In order, in batches that are within the limits of one request."""
    batch: list[Instance] = []
    size = values = pixels = 0
    for each in instances:
        size, values, pixels = size + len(each.content) + 1, values + each.values, pixels + each.pixels
        over = len(batch) >= most or size > MAX_BYTES or values > MAX_VALUES or pixels > MAX_PIXELS
        if batch and (over or each.signature != batch[0].signature):
            yield batch
            batch, size, values, pixels = [], len(each.content) + 1, each.values, each.pixels
        batch.append(each)
    if batch:
        yield batch


def join(batch: Sequence[Instance], signature: str | None = None) -> bytes:
    """The body of one request."""
    named = json.dumps(signature or batch[0].signature).encode()
    return b'{"signature_name":' + named + b',"instances":[' + b",".join(each.content for each in batch) + b"]}"
