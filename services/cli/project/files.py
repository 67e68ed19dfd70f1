"""Makes a project's folder, and copies examples into one. Nothing that exists is overwritten."""

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from modelyard.models.errors import ModelyardError
from modelyard.models.sources.files import EXAMPLES, find_models
from modelyard.services.cli.project.churn import make_csv

TEMPLATE = "modelyard.services.cli.project"
RENAMED = {"gitignore": ".gitignore", "dockerignore": ".dockerignore"}
"""Files whose names would have an effect here."""
NAME = "PROJECT"
"""What stands for the project's name in the template."""


class FolderInUse(ModelyardError):
    """A project cannot be made where something else is."""

    exit_code = 2


def make_project(folder: Path, examples: Sequence[str]) -> list[Path]:
    """Fills a new or empty folder. Returns the files.

    Raises:
        FolderInUse: there is something else.
        UnknownName: of an example; nothing is made.
    """
    content = {**read_template(folder.resolve().name), **read_examples(examples, Path("models"))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FolderInUse(f"{folder}: expected a new or an empty folder; choose another name")
        return write_files(folder, content)
    except OSError as error:
        raise FolderInUse(f"{error.filename or folder}: {error.strerror}") from None


def add_examples(folder: Path, examples: Sequence[str]) -> list[Path]:
    """Copies examples into a folder of models. Returns the files.

    Raises:
        FolderInUse: there is a file of such a name; nothing is copied.
        UnknownName: of an example; nothing is copied.
    """
    content = read_examples(examples, Path())
    for name in content:
        if (folder / name).exists():
            raise FolderInUse(f"{folder / name}: it exists, and is left as it is")
    try:
        return write_files(folder, content)
    except OSError as error:
        raise FolderInUse(f"{error.filename or folder}: {error.strerror}") from None


def read_template(name: str) -> dict[Path, str]:
    """Text by path of the files of a new project."""
    root = importlib.resources.files(TEMPLATE) / "template"
    found = {path: file.read_text().replace(NAME, name) for path, file in walk(root, Path())}
    return {**found, Path("data", "churn.csv"): make_csv()}


def walk(folder: Traversable, path: Path) -> Iterator[tuple[Path, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        below = path / RENAMED.get(entry.name, entry.name)
        if entry.is_file():
            yield below, entry
        elif entry.name != "__pycache__":
            yield from walk(entry, below)


def read_examples(names: Sequence[str], folder: Path) -> dict[Path, str]:
    """Text by path of models of the zoo, and of what lies beside them; raises ``UnknownName``."""
    zoo = find_models(EXAMPLES)
    files = [path for name in names for path in sorted(zoo.find(name).path.parent.glob(f"{name}.*"))]
    return {folder / path.name: path.read_text() for path in files}


def write_files(folder: Path, content: Mapping[Path, str]) -> list[Path]:
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(text)
    return [folder / name for name in content]
