"""Train Keras models from a job queue, let a version through only when it has earned it, serve it.

The sub-packages are the folders at the top of the repository: ``models``, ``pipeline`` and ``services``. What a model's
file needs can be imported from here; it is loaded at its first use, so that ``import modelyard`` costs nothing.
"""

from importlib import import_module
from typing import Any

_HOMES = {  # and in __init__.pyi, for editors and type checkers
    "modelyard.models.batches": ("Batches",),
    "modelyard.models.data": ("Dataset", "Schema", "Split", "Splits"),
    "modelyard.models.inputs": (
        "CategoryInput",
        "DateInput",
        "ImageInput",
        "Ink",
        "NumberInput",
        "SequenceInput",
        "State",
        "TextInput",
        "VectorInput",
    ),
    "modelyard.models.ranges": ("choice", "linear_range", "log_range"),
    "modelyard.models.readers.images": ("image_folder",),
    "modelyard.models.readers.npz_files": ("arrays",),
    "modelyard.models.readers.tables": ("table",),
    "modelyard.models.readers.texts": ("texts",),
    "modelyard.models.recipes": ("Recipe", "recipe"),
    "modelyard.models.spec": ("Baseline", "Card", "FitRun", "Gate", "ModelSpec", "PreparedData"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imports the module of an exported name at its first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'modelyard' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value
