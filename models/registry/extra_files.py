"""JSON files beside a version's graph that versions of older releases do not have."""

from pathlib import Path
from typing import TypeVar

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.store import first_line

Record = TypeVar("Record", bound=FrozenModel)


def read_extra(version: Path, file: str, kind: type[Record]) -> Record | None:
    """The file in a version's folder; None for a version that has none.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    try:
        return kind.model_validate_json((version / file).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptData(f"{file} of {version.name} is damaged: {first_line(error)}") from error
