"""Which backend Keras computes with in this process: decided when Keras is imported, for as long as it lives.

A process that trains or exports says it here before it imports anything that imports Keras, as every zoo file does.
"""

import importlib.metadata
import os
from contextlib import nullcontext, suppress
from typing import Any, get_args

from modelyard.models.absent import absent
from modelyard.models.errors import WrongBackend
from modelyard.models.types import Backend

VARIABLE = "KERAS_BACKEND"
DEFAULT: Backend = "tensorflow"
TENSORFLOWS = ("tensorflow", "tensorflow-cpu")
"""Packages that hold TensorFlow: images without a GPU have the smaller one."""


def known(value: Any) -> Backend:
    """A recipe's value if it is a backend, else the default: whoever reads the recipe itself refuses it."""
    return value if value in get_args(Backend) else DEFAULT


def begin(backend: Backend) -> None:
    """Imports Keras on this backend.

    Without JAX unless it is asked for: TensorFlow loads it wherever it is installed, for its Lite converter
    (tensorflow/lite/python/util.py), which takes 2 s.

    Raises:
        WrongBackend: Keras was imported before, on another one.
    """
    os.environ[VARIABLE] = backend
    with nullcontext() if backend == "jax" else absent("jax"):
        import keras  # noqa: F401  # for its backend
    require(backend)


def require(backend: Backend) -> None:
    """Raises ``WrongBackend`` unless this process computes with it."""
    if backend != (found := current()):
        raise WrongBackend(
            f"recipe key 'backend': expected a process that computes with {backend}, received one with {found}; "
            f"start it with {VARIABLE}={backend}"
        )


def tensorflow_version() -> str | None:
    """Of whichever package holds it; None if none does. Imports nothing."""
    for package in TENSORFLOWS:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return None


def current() -> Backend:
    """What this process computes with."""
    import keras

    name: Backend = keras.backend.backend()
    return name
