"""The backend that Keras computes with in this process: fixed when Keras is imported.

A process that trains or exports calls ``use_backend`` before it imports anything that imports Keras, as zoo files do.
"""

import importlib.metadata
import os
from contextlib import nullcontext, suppress
from typing import Any, get_args

from modelyard.models.errors import WrongBackend
from modelyard.models.imports import hide_module, pause_gc
from modelyard.models.types import Backend

VARIABLE = "KERAS_BACKEND"
DEFAULT: Backend = "tensorflow"
TENSORFLOWS = ("tensorflow", "tensorflow-cpu")
"""Packages that hold TensorFlow: images without a GPU have the smaller one."""


def parse_backend(value: Any) -> Backend:
    """A recipe's value if it is a backend, else the default: reading the recipe itself refuses other values."""
    return value if value in get_args(Backend) else DEFAULT


def use_backend(backend: Backend) -> None:
    """Imports Keras on this backend.

    JAX is hidden unless it is the backend: TensorFlow loads it wherever it is installed, for its Lite converter
    (tensorflow/lite/python/util.py), which takes 2 s.

    Raises:
        WrongBackend: Keras was imported before, on another backend.
    """
    os.environ[VARIABLE] = backend
    with pause_gc(), nullcontext() if backend == "jax" else hide_module("jax"):
        import keras  # noqa: F401  # for its backend
    require_backend(backend)


def require_backend(backend: Backend) -> None:
    """Raises ``WrongBackend`` unless this process computes with ``backend``."""
    if backend != (found := current_backend()):
        raise WrongBackend(
            f"recipe key 'backend': expected a process that computes with {backend}, received one with {found}; "
            f"start it with {VARIABLE}={backend}"
        )


def tensorflow_version() -> str | None:
    """Version of the installed package that holds TensorFlow; None if there is none. Imports nothing."""
    for package in TENSORFLOWS:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def current_backend() -> Backend:
    """The backend of this process. Imports Keras."""
    import keras

    name: Backend = keras.backend.backend()
    return name
