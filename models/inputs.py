"""Kinds of input: what a client sends, what a model's graph takes, and how the data holds it.

A model has one input, or several with names. A table is the commonest case of several: one input for each column.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from modelyard.models.types import Array

State = Mapping[str, Array]
"""State of preprocessing, learned from the training split (vocabulary, means, ...); saved as one ``.npz``."""

Resize = Literal["stretch", "pad", "crop"]
"""How an image of another shape becomes the model's: stretched, padded with black, or cut to its middle."""


@dataclass(frozen=True)
class Ink:
    """Images are drawn strokes, such as a digit: whatever they were drawn with and on, they become light ink on black.

    Files are normalised so in the graph: transparency is laid on paper, paper and ink are told from each other, the ink
    is cut out, brought to one size, and its mass put in the middle. Pixels that are sent as numbers are taken as they
    are.
    """

    size: int = 20
    """Pixels of the longer side of what is drawn."""


@dataclass(frozen=True)
class ImageInput:
    """Images; the model sees ``float32 [N,height,width,channels]`` with values 0..255.

    PNG and JPEG of any mode are converted in the graph: turned as EXIF says, transparency over white where the model
    has no channel for it, grey to colour and colour to grey.
    """

    height: int
    width: int
    channels: Literal[1, 3, 4] = 1
    resize: Resize = "stretch"
    ink: Ink | None = None
    """How drawn strokes are normalised, for images of one channel; without it, files are only resized."""
    kind: Literal["image"] = "image"


@dataclass(frozen=True)
class TextInput:
    """Raw UTF-8 text, ``string [N]``; in the data ``object [N]`` of ``str``."""

    vectorise: Callable[[State], Callable[[Any], Any]] | None = None
    """``state`` -> function from ``string [N]`` to what the model takes, inside the exported graph. Only for a model
    with this one input; others have ``ModelSpec.encode``."""
    max_chars: int = 20_000
    missing: bool = False
    title: str = ""
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class VectorInput:
    """A fixed count of numbers; the model sees ``float32 [N,size]``."""

    size: int
    kind: Literal["vector"] = "vector"


@dataclass(frozen=True)
class SequenceInput:
    """Steps of ``size`` numbers each, of any length up to ``max_steps``; the model sees ``float32 [N,T,size]``.

    All sequences of a request have the same length. In the data: ``float32 [N,T,size]``.
    """

    size: int
    max_steps: int = 10_000
    kind: Literal["sequence"] = "sequence"


@dataclass(frozen=True)
class NumberInput:
    """One number, ``float32 [N]``; NaN where it is missing."""

    missing: bool = False
    """Whether a client may leave it out (JSON ``null``, an empty CSV field)."""
    title: str = ""
    """Its name in the data, where that is no identifier: a column ``petal length (cm)`` is the input
    ``petal_length_cm``."""
    kind: Literal["number"] = "number"


@dataclass(frozen=True)
class CategoryInput:
    """One of some values, ``string [N]``; empty where it is missing. A value never seen in training is ``unknown``."""

    values: tuple[str, ...] = ()
    """The values in the training split, for people; the graph takes any."""
    missing: bool = False
    title: str = ""
    kind: Literal["category"] = "category"


DATE_PATTERN = (
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
    r"([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-]([01]\d|2[0-3]):?[0-5]\d)?)?"
)
"""What is a date: read alike by Python, by RE2 in the graph, and by Arrow. A default model takes dates and
times as they are written, whatever their zone."""


@dataclass(frozen=True)
class DateInput:
    """A date or a time as ISO 8601, ``string [N]``: ``2026-11-29`` or ``2026-11-29T18:30:00``; empty where missing."""

    missing: bool = False
    title: str = ""
    kind: Literal["date"] = "date"


OneInput = ImageInput | TextInput | VectorInput | SequenceInput | NumberInput | CategoryInput | DateInput
ModelInput = OneInput | Mapping[str, OneInput]
"""One input, or several by name."""

TENSOR_NAMES: Mapping[str, str] = {
    "image": "images",
    "text": "text",
    "vector": "vectors",
    "sequence": "sequences",
    "number": "numbers",
    "category": "categories",
    "date": "dates",
}
"""Name of the tensor of a model's only input, by its kind; several inputs have names of their own."""


def name_inputs(given: ModelInput) -> dict[str, OneInput]:
    """Inputs by the names that their tensors have in the exported graph."""
    return dict(given) if isinstance(given, Mapping) else {TENSOR_NAMES[given.kind]: given}


def find_title(name: str, kind: OneInput) -> str:
    """The name that people know an input by: its column's title, where that is no identifier."""
    return getattr(kind, "title", "") or name


def list_kinds(given: ModelInput) -> dict[str, str]:
    """Kinds of inputs by their names; of the only input without one by an empty one."""
    return {name: one.kind for name, one in given.items()} if isinstance(given, Mapping) else {"": given.kind}


def name_encoded_image(name: str, inputs: Collection[str]) -> str:
    """Name of an image input where it takes PNG or JPEG bytes: ``image_bytes`` if it is the only input."""
    return "image_bytes" if len(inputs) == 1 else f"{name}_bytes"


# --- values, for readers of data and for clients ----------------------------------------------------------------------

MISSING_MARKS = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""Texts, in any case, that stand for a missing number or date in a table; a missing category or text is empty."""
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+", re.ASCII)
_DATE = re.compile(DATE_PATTERN, re.ASCII)
_EXACT = 2**53


def canonical_category(value: str | bool | float) -> str:  # a value, no flag
    """The one text of a category, whichever way it was written; readers of data and the gateway both use it.

    Formats differ in what they keep: a column of 1 and 2 with a gap is 1.0 and 2.0 in many exports, and true is True.
    So 3, 3.0, "3" and "3.0" are all ``3``; true, "True" and "TRUE" are ``true``. White space around it is cut off. Any
    other text stays as it is: ``007`` and ``1.10`` are no numbers here. NaN is a missing value, so empty.
    """
    if isinstance(value, str):
        text = value.strip()
        if text[-1:] == "0" and (whole := _WHOLE.fullmatch(text)):
            return "0" if whole[1] == "-0" else whole[1]
        return text.lower() if text in ("True", "TRUE", "False", "FALSE") else text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isnan(value):
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value) if isinstance(value, int | float) else canonical_category(str(value))  # numpy's own numbers


def check_date(text: str) -> None:
    """Raises ``ValueError`` for what is no date or time as ISO 8601, or no day of the calendar."""
    if not _DATE.fullmatch(text):
        raise ValueError(f"expected a date as ISO 8601, received {text[:40]!r}")
    date.fromisoformat(text[:10])
