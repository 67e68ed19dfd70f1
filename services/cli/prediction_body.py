"""What `modelyard predict` is given, to a body of ``:predict``."""

import json
import mimetypes
import os
import re
from pathlib import Path
from typing import Any

from modelyard.models.errors import ModelyardError

FILE_NAME = re.compile(r"(?:~|\.{0,2}/)\S*|\S+\.(?:png|jpe?g|gif|webp|bmp|tiff?|json|jsonl|txt|csv)", re.IGNORECASE)
"""What is meant as a file's name, whether there is such a file or not: a path, or a name with a usual ending."""
BODY_KEYS = frozenset({"instances", "inputs", "signature_name"})
"""Of TensorFlow Serving's bodies."""
IMAGE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def read_prediction_body(given: str, standard_input: bytes | None = None) -> tuple[bytes, str]:
    """A prediction body and its content type, from a file's name, ``-`` (standard input), JSON or a text.

    Images are known by their first bytes, JSON by its first character; anything else is what its name says, or text.
    A JSON object that is no body of ``:predict`` is one row of named inputs.

    Raises:
        ModelyardError: what looks like a file's name is none's.
    """
    if given == "-":
        return complete_row(standard_input or b""), find_body_type(standard_input or b"")
    if os.path.isfile(given):  # noqa: PTH113  # pathlib raises an error for a text that is too long for a name
        content = Path(given).read_bytes()
        return complete_row(content), find_body_type(content, given)
    if FILE_NAME.fullmatch(given):
        wrong = "a folder, not a file" if os.path.isdir(given) else "no such file"  # noqa: PTH112  # likewise
        raise ModelyardError(f"{wrong}: {given}; if it is a text, send it through a pipe to `-`")
    content = given.encode()
    return (content, "text/plain") if read_object(content) is None else (complete_row(content), "application/json")


def complete_row(content: bytes) -> bytes:
    """A JSON object of named inputs as a body with one row; anything else as it is."""
    parsed = read_object(content)
    if parsed is None or not BODY_KEYS.isdisjoint(parsed):
        return content
    return b'{"instances": [' + content + b"]}"


def read_object(content: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else, of which the gateway says whether it takes it."""
    try:
        parsed = json.loads(content) if content.lstrip()[:1] == b"{" else None
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def find_body_type(content: bytes, name: str = "") -> str:
    """The content type of a body."""
    for magic, content_type in IMAGE_TYPES.items():
        if content.startswith(magic):
            return content_type
    named = mimetypes.guess_type(name)[0] or ""
    if named.startswith("image/") or named == "text/csv":  # the gateway says which kinds it takes
        return named
    return "application/json" if content.lstrip()[:1] == b"{" else "text/plain"
