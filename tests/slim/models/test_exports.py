"""What a model's file imports from ``modelyard`` itself."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import modelyard

TRAINERS_ONLY = ("modelyard.models.batches", "modelyard.models.readers.")
"""What needs Keras, or pyarrow."""
STUB = Path(modelyard.__file__).with_suffix(".pyi")


def test_an_editor_sees_what_can_be_imported() -> None:
    """The stub and the table that loads names agree, name by name."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    without_keras = {name: module for name, module in seen.items() if not str(module).startswith(TRAINERS_ONLY)}
    for name, module in without_keras.items():
        assert getattr(modelyard, name) is getattr(import_module(str(module)), name)
    assert {"ModelSpec", "Gate", "Recipe", "Split", "ImageInput"} <= without_keras.keys()


def test_another_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Modelspec'"):
        _ = modelyard.Modelspec


def test_importing_the_package_loads_nothing() -> None:
    """Not numpy, and none of the sub-packages."""
    code = "import modelyard, sys; print([m for m in sys.modules if m.startswith('modelyard.') or m == 'numpy'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
