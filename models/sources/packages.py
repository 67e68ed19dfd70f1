"""Models in installed packages: those of the entry points in the group ``modelyard.models``, and the zoo."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "modelyard.models"
ZOO = "modelyard.models.zoo"


@dataclass(frozen=True)
class PackageModule:
    """A module that may be a model, by its file and its name for imports."""

    path: Path
    module: str


@dataclass(frozen=True)
class MissingModule:
    """An entry point whose module is not there."""

    entry_point: str
    error: str


def list_entry_points() -> Iterator[PackageModule | MissingModule]:
    """The modules of all entry points. Runs none of their code.

    An entry point names a module, or a package, whose modules are models then.
    """
    for entry in sorted(entry_points(group=GROUP)):
        names_module = not entry.attr or entry.attr == "SPEC"
        if found := list_modules(entry.module) if names_module else ():
            yield from found
        else:
            text = f"entry point {entry.name!r}: expected a module or package, received {entry.value!r}"
            yield MissingModule(entry.name, f"{text}, which is not installed" if names_module else text)


def list_modules(name: str) -> tuple[PackageModule, ...]:
    """The module of this name, or the modules of the package; empty if there is none."""
    spec = find_module(name)
    if spec is None:
        return ()
    if spec.submodule_search_locations is None:
        return (PackageModule(Path(spec.origin), name),) if spec.origin else ()
    return tuple(
        PackageModule(path, f"{name}.{path.stem}")
        for folder in spec.submodule_search_locations
        for path in sorted(Path(folder).glob("*.py"))
    )


def find_module(name: str) -> ModuleSpec | None:
    """As ``importlib.util.find_spec``, which imports the packages above; this imports nothing."""
    top, *below = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # ValueError: a module without a spec is loaded
        return None
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    return spec
