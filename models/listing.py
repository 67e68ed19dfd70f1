"""Lists models for the catalog: imports a model's file, and glances at its data.

``main`` does so in a process of its own: a model's file may do anything, and hurts no other.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

import orjson
from pydantic import BaseModel

from modelyard.models import backend
from modelyard.models.backend import use_backend
from modelyard.models.catalog import (
    Catalog,
    TrainableModel,
    describe_model,
    source_digest,
    write_catalog,
)
from modelyard.models.check_spec import check_spec
from modelyard.models.errors import InvalidSpec
from modelyard.models.resolve import inspect_data, resolve
from modelyard.models.sources.files import EXAMPLES, ModelFile, Sources, find_models
from modelyard.models.sources.loading import LoadedModel, load_model, translate_errors


class Listed(BaseModel):
    """What came of listing one file: the model, or why it cannot be used."""

    model: TrainableModel | None = None
    error: str = ""
    may_pass: bool = False
    """Whether the error may go without a change of the file: its data is at fault, a package, or the machine."""


def list_file(file: ModelFile) -> Listed:
    """Imports a file in this process."""
    try:
        loaded = load_model(file)
    except InvalidSpec as error:
        is_final = error.__cause__ is None or isinstance(error.__cause__, SyntaxError | SystemExit)
        return Listed(error=str(error), may_pass=not is_final)
    try:
        with translate_errors(file.path):
            spec = resolve(loaded.spec, inspect_data(loaded.spec))
            check_spec(spec)
            found = describe_model(spec)
            found.model_dump_json()  # a recipe's value may have no form in JSON
    except InvalidSpec as error:
        return Listed(error=str(error), may_pass=True)
    return Listed(model=found.model_copy(update={"sources": hash_sources(loaded)}))


def hash_sources(loaded: LoadedModel) -> dict[str, str]:
    """SHA-256 of each file that a model was made from."""
    sources = loaded.sources or {str(loaded.file.path): loaded.file.path.read_bytes()}
    return {path: hashlib.sha256(source).hexdigest() for path, source in sources.items()}


def list_all(store_root: Path, sources: Sources = EXAMPLES) -> Catalog:
    """Lists all models in this process, and writes the catalog."""
    use_backend(backend.DEFAULT)
    found = find_models(sources)
    listed = {name: list_file(file) for name, file in found.files.items()}
    catalog = Catalog(
        digest=source_digest(),
        trainable={name: each.model for name, each in listed.items() if each.model},
        broken={**found.faults, **{name: each.error for name, each in listed.items() if not each.model}},
    )
    write_catalog(store_root, catalog)
    return catalog


def main(name: str, path: str, module: str, limit_s: str) -> None:
    """Writes a ``Listed`` on standard output, which the model's file does not get to see; ends in time."""
    out = os.dup(sys.stdout.fileno())
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # no file
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere.fileno(), stream.fileno())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(limit_s))
    use_backend(backend.DEFAULT)
    with os.fdopen(out, "wb") as file:
        file.write(orjson.dumps(list_file(ModelFile(name, Path(path), module)).model_dump(mode="json")))


if __name__ == "__main__":
    list_all(Path(sys.argv[1]))
