"""Loads one model's file, and says what is wrong with it."""

import json
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

from modelyard.models.errors import InvalidSpec, ModelyardError
from modelyard.models.sources.files import ModelFile, is_model, show
from modelyard.models.sources.folder_importer import PREFIX, FolderImporter
from modelyard.models.spec import ModelSpec

PACKAGE = Path(__file__).parents[2]
PRIVATE = re.compile(rf"{PREFIX}\d+\.")
SPEC_LINE = re.compile(r"[ \t]*SPEC\b|\w+[^\n=]*=\s*(\w+\.)*ModelSpec\b")
MAX_ERROR_CHARS = 2000
ENDING = "a model's file ends in SPEC = ModelSpec(...)"


@dataclass(frozen=True)
class LoadedModel:
    """A spec, and what it was made of."""

    file: ModelFile
    spec: ModelSpec
    sources: Mapping[str, bytes] = field(default_factory=dict)
    """Source by path of the model's file and of what it has imported from beside it. It grows with later imports. Empty
    for an installed package."""

    def save(self, path: Path) -> Path:
        """Writes what ``load_saved`` needs. Another process then loads the same, whatever became of the files."""
        sources = {name: source.decode("latin-1") for name, source in self.sources.items()}
        entry = {"name": self.file.name, "path": str(self.file.path), "module": self.file.module, "sources": sources}
        path.write_text(json.dumps(entry))
        return path


def load_saved(path: Path) -> LoadedModel:
    """Loads the model that ``LoadedModel.save`` wrote; raises its errors."""
    entry = json.loads(path.read_text())
    sources = {name: source.encode("latin-1") for name, source in entry["sources"].items()}
    return load_model(ModelFile(entry["name"], Path(entry["path"]), entry["module"]), sources)


def load_model(file: ModelFile, kept: Mapping[str, bytes] | None = None) -> LoadedModel:
    """Imports a model's file. Its name and summary, if left out, are those of the file.

    Args:
        kept: sources by path that are used in place of those on disk.

    Raises:
        InvalidSpec: it cannot be used; with file and line.
    """
    path = file.path.absolute()
    if file.module:
        with translate_errors(path):
            module = import_module(file.module)
        return LoadedModel(file, read_spec(file, module))
    invalidate_caches()  # a file may be newer than the last look into its folder
    importer = FolderImporter(path, kept or {})
    sys.meta_path.insert(0, importer)  # for good: functions import late
    with translate_errors(path):
        module = import_module(importer.module)
    return LoadedModel(file, read_spec(file, module), importer.sources)


def read_spec(file: ModelFile, module: ModuleType) -> ModelSpec:
    """The ``SPEC`` of a module, with file, name and summary."""
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, ModelSpec):
        received = "no SPEC" if spec is None else f"a SPEC of type {type(spec).__name__}"
        raise InvalidSpec(f"{show_spec_line(file.path)}: {ENDING}, received {received}")
    if spec.name not in ("", file.name):
        expected = f"{file.name!r}, as the file is named, or no name"
        raise InvalidSpec(f"{show_spec_line(file.path)}: expected the name {expected}, received {spec.name!r}")
    summary = spec.summary or next(iter((module.__doc__ or "").strip().splitlines()), "")
    return replace(spec, file=file.path.absolute(), name=file.name, summary=summary)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turns whatever a model's file raises into ``InvalidSpec`` with file and line.

    An exit is an error, too, unless the process was told to end: then it comes from this package.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and is_ours(error):
            raise
        raise InvalidSpec(f"{locate_error(error, path)}: {describe_error(error)}") from error


def locate_error(error: BaseException, path: Path) -> str:
    """File and line of an error: where it is in the syntax, else the innermost line in the model's folder."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{show(Path(error.filename))}:{error.lineno or 1}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(path.parent)]
    return f"{show(Path(inside[-1].filename))}:{inside[-1].lineno}" if inside else show_spec_line(path)


def describe_failure(error: BaseException, path: Path) -> str:
    """What went wrong while the functions of a model's file ran: file, line, kind, and the first line of its text."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{locate_error(error, path)}: {type(error).__name__}: {text}".removesuffix(": ")


def describe_error(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the process: SystemExit({error.code!r})"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"no module {PRIVATE.sub('', error.name)!r}, neither beside the file nor installed"
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(PRIVATE.sub("", said).split())[:MAX_ERROR_CHARS]
    return text if isinstance(error, ModelyardError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def is_ours(error: BaseException) -> bool:
    """Whether an error was raised by this package, and not by a model of it."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(last).is_relative_to(PACKAGE) and not is_model(Path(last))


def show_spec_line(path: Path) -> str:
    """File and line of its ``SPEC``, or of another ``ModelSpec``; its last line if it has none."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    except OSError:
        return show(path)
    number = next((number for number, line in enumerate(lines, 1) if SPEC_LINE.match(line)), len(lines))
    return f"{show(path)}:{number}"
