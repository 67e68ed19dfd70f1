"""``modelyard.toml`` in the working directory, and what is known without reading settings. Light."""

import tomllib
from pathlib import Path
from typing import Any

from modelyard.models.errors import ModelyardError

PROJECT = Path("modelyard.toml")
HOME = Path(".modelyard")
"""Default folder of all files, below the working directory."""


class InvalidSettings(ModelyardError):
    """A setting is missing or out of range; names it."""

    exit_code = 2


def read_project(path: Path = PROJECT) -> dict[str, Any]:
    """The settings in a project's file; empty if there is no such file.

    Raises:
        InvalidSettings: it cannot be read, or is no TOML; with the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidSettings(f"{path}: {error.strerror}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise InvalidSettings(f"{path}: expected TOML: {error}") from None
