"""Names of inputs from titles of columns: they become parameters of TensorFlow functions."""

import keyword
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from modelyard.models.errors import InvalidData


def name_columns(file: Path, titles: Iterable[str]) -> dict[str, str]:
    """Titles by the identifier that each gives.

    Raises:
        InvalidData: two give the same one.
    """
    found: dict[str, str] = {}
    for position, title in enumerate(titles, 1):
        name = make_identifier(title, position)
        if name in found:
            raise InvalidData(
                f"{file.name}: columns {found[name]!r} and {title!r} would both be the input {name!r}; rename one"
            )
        found[name] = title
    return found


def make_identifier(title: str, position: int) -> str:
    """``petal length (cm)`` -> ``petal_length_cm``; ``class`` -> ``class_``; ``3d`` -> ``column_3d``.

    Letters lose their accents, since TensorFlow's names are ASCII; where nothing is left, it is ``column_`` and the
    position, counted from 1.
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", plain).strip("_")
    if not name:
        return f"column_{position}"
    if name[0].isdigit():
        return f"column_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
