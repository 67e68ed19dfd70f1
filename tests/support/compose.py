"""The compose files of this project."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.support.repository import ROOT

MAIN, SERVING = ROOT / "docker-compose.yml", ROOT / "deploy/serving/service.yml"
FILES = (MAIN, SERVING, *sorted((ROOT / "deploy").glob("compose.*.yml")))
VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")


def read(path: Path) -> dict[str, Any]:
    """With the defaults in the places of variables."""
    found: dict[str, Any] = yaml.safe_load(VARIABLE.sub(lambda match: match[2] or "", path.read_text()))
    return found


def flags(path: Path) -> dict[str, str]:
    command = [part for part in read(path)["services"]["modelserver"]["command"] if part.startswith("--")]
    return {name.removeprefix("--"): value for name, _, value in (part.partition("=") for part in command)}
