"""Which files are models, and under which names."""

import keyword
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelyard.models.errors import InvalidSpec, UnknownName, describe_unknown
from modelyard.models.sources.packages import ZOO, MissingModule, list_entry_points, list_modules

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""As the store takes it."""
MODEL = re.compile(
    rb"^[ \t]*SPEC\b|^\w+[^\n=]*=\s*(\w+\.)*ModelSpec\b|^[ \t]*from\b.*\bimport\b.*\bSPEC\b", re.MULTILINE
)
"""A line of a model's file: it assigns or imports ``SPEC``, or assigns a ``ModelSpec`` to another name by mistake."""
HELPER_PREFIX = "_"


@dataclass(frozen=True)
class ModelFile:
    """One model: its name, its file, and the name for imports if it is part of an installed package."""

    name: str
    path: Path
    module: str = ""


@dataclass(frozen=True)
class Sources:
    """Folders of model files, in any order. Entry points are always listed, the zoo only if there is no folder."""

    folders: tuple[Path, ...] = ()

    def resolve(self) -> "Sources":
        """The same folders, whatever the working directory is; each once."""
        return Sources(tuple(dict.fromkeys(folder.absolute() for folder in self.folders)))


EXAMPLES = Sources()
"""No folder: the zoo."""


@dataclass(frozen=True)
class FoundModels:
    """Model files by name, and what cannot be used, by name or file, with the reason."""

    files: Mapping[str, ModelFile]
    faults: Mapping[str, str]
    helpers: Mapping[str, Path] = field(default_factory=dict)
    """Files of the folders that are no models, by what would be their names."""

    def find(self, name: str) -> ModelFile:
        """The file of this model.

        Raises:
            InvalidSpec: there is one, and it cannot be used.
            UnknownName: there is none; the text has the closest names, or says what its file lacks.
        """
        if name in self.faults:
            raise InvalidSpec(self.faults[name])
        if name in self.helpers:
            raise UnknownName(
                f"{show(self.helpers[name])} is no model: no line of it begins with SPEC = ModelSpec(...)"
            )
        if name not in self.files:
            raise UnknownName(describe_unknown("model", name, self.files))
        return self.files[name]


def find_models(sources: Sources) -> FoundModels:
    """All model files, by reading folders and files; runs no code of theirs.

    A file is a model's unless its name begins with ``_`` or no line of it begins with ``SPEC``: then it is a helper.
    """
    faults: dict[str, str] = {}
    helpers: dict[str, Path] = {}
    by_name: dict[str, list[ModelFile]] = {}
    for file in list_files(sources, faults, helpers):
        if not NAME.fullmatch(file.name) or keyword.iskeyword(file.name):
            faults[show(file.path)] = f"{show(file.path)}: expected a lower-case identifier, received {file.name!r}"
        else:
            by_name.setdefault(file.name, []).append(file)
    for name, files in by_name.items():
        if len(files) > 1:
            faults[name] = f"several files are named {name}: {', '.join(show(file.path) for file in files)}"
    models = {name: files[0] for name, files in sorted(by_name.items()) if len(files) == 1}
    return FoundModels(models, faults, {name: path for name, path in helpers.items() if name not in models})


def list_files(sources: Sources, faults: dict[str, str], helpers: dict[str, Path]) -> Iterator[ModelFile]:
    """Files of folders, entry points and the zoo; a place that cannot be read becomes a fault."""
    seen = set[str]()
    for file in (*list_folder_files(sources.folders, faults), *list_package_files(faults, zoo=not sources.folders)):
        resolved = os.path.realpath(file.path)  # which has no loops, where pathlib raises
        if resolved in seen:
            continue
        if is_model(file.path):
            seen.add(resolved)
            yield file
        elif not (file.module or file.name.startswith(HELPER_PREFIX)):
            helpers[file.name] = file.path


def list_folder_files(folders: Iterable[Path], faults: dict[str, str]) -> Iterator[ModelFile]:
    for folder in folders:
        try:
            paths = sorted(path for path in folder.iterdir() if path.suffix == ".py")
        except OSError as error:
            faults[show(folder)] = f"folder {show(folder)}: {error.strerror}"
        else:
            yield from (ModelFile(path.stem, path) for path in paths)


def list_package_files(faults: dict[str, str], *, zoo: bool) -> Iterator[ModelFile]:
    for found in (*list_entry_points(), *(list_modules(ZOO) if zoo else ())):
        if isinstance(found, MissingModule):
            faults[found.entry_point] = found.error
        else:
            yield ModelFile(found.path.stem, found.path, found.module)


def is_model(path: Path) -> bool:
    """Whether a file is a model's, by its name and its text."""
    if path.name.startswith(HELPER_PREFIX) or not os.path.isfile(path):  # noqa: PTH113  # False where pathlib raises
        return False
    try:
        return MODEL.search(path.read_bytes()) is not None
    except FileNotFoundError:  # just now
        return False
    except OSError:  # loading it says why
        return True


def show(path: Path) -> str:
    """A path for people: from the working directory on, if it is below that."""
    try:
        shown = path.relative_to(Path.cwd())
    except (ValueError, FileNotFoundError):  # elsewhere; or the working directory is gone
        shown = path
    return os.fsencode(shown).decode(errors="replace")
