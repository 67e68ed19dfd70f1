"""Imports the files of one folder under private names: docs/decisions/0034-private-names-for-model-files.md."""

import builtins
import itertools
import linecache
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from modelyard.models.sources.files import is_model

PREFIX = "_modelyard_models_"
OURS = "modelyard"
_numbers = itertools.count(1)


class FolderImporter(MetaPathFinder):
    """Makes a folder a package with a name that nothing else has, for one load of one model.

    A module that it imports finds the files beside the model as ``.helpers`` and as ``helpers``. No other module does.
    """

    def __init__(self, model: Path, kept: Mapping[str, bytes]) -> None:
        """``kept`` holds sources by path that are used in place of those on disk."""
        self.model, self.folder = model, model.parent
        self.package = f"{PREFIX}{next(_numbers)}"
        self.module = f"{self.package}.{model.stem}"
        self.sources = dict(kept)
        """Source by path of all that was imported so far."""
        self._helpers: dict[str, bool] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the package, or of a module in it; None for every other name."""
        if fullname == self.package:
            return self._find_package()
        if fullname == self.module:  # that file, even if there is a package of its name
            return spec_from_file_location(fullname, self.model, loader=SourceLoader(fullname, str(self.model), self))
        if not fullname.startswith(f"{self.package}."):
            return None
        spec = self._find_kept(fullname, path or ()) or PathFinder.find_spec(fullname, path, target)
        if spec and isinstance(spec.loader, SourceFileLoader):
            spec.loader = SourceLoader(fullname, spec.loader.path, self)
            spec.cached = None
        return spec

    def import_module(
        self,
        name: str,
        globals: Any = None,  # noqa: A002  # these are the names that __import__ has
        locals: Any = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` of the folder's modules: a helper beside the model is meant before an installed module."""
        top = name.partition(".")[0]
        if level or not self.is_helper(top):
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist, 0)
        return found if fromlist else sys.modules[f"{self.package}.{top}"]

    def is_helper(self, top: str) -> bool:
        """Whether a name without dots means a file or folder beside the model.

        It never hides a module of Python or this package. A model's file, or a folder that is no package, means
        something only if nothing else of that name is installed.
        """
        if top in sys.stdlib_module_names or top == OURS:
            return False
        if top not in self._helpers:
            self._helpers[top] = self._find_helper(top)
        return self._helpers[top]

    def _find_helper(self, top: str) -> bool:
        file, folder = self.folder / f"{top}.py", self.folder / top
        if self._has(folder / "__init__.py"):
            return True
        if self._has(file):
            return not is_model(file) or not is_installed(top)
        return folder.is_dir() and not is_installed(top)

    def _has(self, path: Path) -> bool:
        return str(path) in self.sources or path.is_file()

    def _find_package(self) -> ModuleSpec:
        init = self.folder / "__init__.py"
        has_init = self._has(init)
        spec = ModuleSpec(
            self.package,
            SourceLoader(self.package, str(init), self) if has_init else None,
            origin=str(init) if has_init else None,
            is_package=True,
        )
        spec.has_location = has_init
        spec.submodule_search_locations = [str(self.folder)]
        return spec

    def _find_kept(self, fullname: str, path: Sequence[str]) -> ModuleSpec | None:
        """A module whose source is kept, although its file may be gone."""
        name = fullname.rpartition(".")[2]
        for folder in path:
            for file, below in ((f"{folder}/{name}/__init__.py", [f"{folder}/{name}"]), (f"{folder}/{name}.py", None)):
                if file in self.sources:
                    loader = SourceLoader(fullname, file, self)
                    return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=below)
        return None


class SourceLoader(SourceFileLoader):
    """Executes one file of a folder. Reads and writes no ``.pyc``: its time has whole seconds, and edits are faster."""

    def __init__(self, fullname: str, path: str, importer: FolderImporter) -> None:
        super().__init__(fullname, path)
        self._importer = importer

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  # the signature is importlib's
        sources = self._importer.sources
        if self.path not in sources:
            sources[self.path] = self.get_data(self.path)
        remember_lines(self.path, sources[self.path])
        code: CodeType = self.source_to_code(sources[self.path], self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._importer.import_module}
        super().exec_module(module)


def remember_lines(path: str, source: bytes) -> None:
    """Lets ``inspect`` and tracebacks show what was loaded, not what the file has become: AutoGraph compiles that."""
    with suppress(SyntaxError, UnicodeDecodeError):  # compiling it says so
        linecache.cache[path] = (len(source), None, decode_source(source).splitlines(keepends=True), path)


def is_installed(name: str) -> bool:
    """Whether a top-level module of this name can be imported."""
    try:
        return find_spec(name) is not None
    except ValueError:  # one without a spec is loaded
        return True
