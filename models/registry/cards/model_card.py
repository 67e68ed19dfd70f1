"""The author's words of a version's model card, and what was measured on kinds of input. Slim."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.extra_files import read_extra
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.store import first_line

FILE = "assets.extra/card.json"

Group = Literal["made for", "beyond", "other"]
"""Of a kind of input: the model is made for it; it has an answer, but the model is not made for it; it has none."""


class KindRecord(FrozenModel):
    """What was measured on one kind of input."""

    kind: str
    summary: str = ""
    group: Group = "made for"
    count: int = Field(ge=0)
    """Number of inputs."""
    measures: dict[str, float]
    """By name: ``accuracy``, ``flagged``, ``auroc`` and the like, or the author's own."""


class MeasuredRecord(FrozenModel):
    """What was measured with versions of one recipe."""

    recipe: str = ""
    """Of the versions that were measured; empty where it holds for all."""
    by: str = ""
    """What measured it."""
    data: str = ""
    """The inputs that the kinds are made of."""
    kinds: tuple[KindRecord, ...]


class MeasuredFile(FrozenModel):
    """The JSON file that a spec's ``Card.measured`` names."""

    measured: tuple[MeasuredRecord, ...]


class CardRecord(FrozenModel):
    """``card.json``: the fields of ``Card``, and of its file of measured kinds what holds for the version's recipe."""

    purpose: str = ""
    made_for: tuple[str, ...] = ()
    not_made_for: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    data: str = ""
    license: str = ""
    contact: str = ""
    measured: MeasuredRecord | None = None


def read_card(version: Path) -> CardRecord | None:
    """The author's words in a version's folder; None for a version that has none.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    return read_extra(version, FILE, CardRecord)


def read_measured(path: Path) -> MeasuredFile:
    """Raises ``CorruptData``, which names the field that is wrong, or that there is no such file."""
    try:
        return MeasuredFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorruptData(f"{path.name}: expected a file of measured kinds, received none: {error.strerror}") from error
    except ValueError as error:
        raise CorruptData(f"{path.name}: expected measured kinds: {first_line(error)}") from error


def choose_measured(found: MeasuredFile, recipe: str) -> MeasuredRecord | None:
    """What was measured with the recipe; else what holds for all."""
    by_recipe = {each.recipe: each for each in found.measured}
    return by_recipe.get(recipe) or by_recipe.get("")
