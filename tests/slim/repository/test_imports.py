"""What the slim side must never load, seen in a process of its own."""

import importlib.metadata
import json
import subprocess
import sys
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MODULES = (
    "modelyard.services.gateway.wsgi",
    "modelyard.services.gateway.api.jobs",
    "modelyard.services.jobs",
    "modelyard.services.ledger",
    "modelyard.services.cli.main",
    "modelyard.services.cli.commands.local.up",
    "modelyard.services.cli.commands.local.doctor",
    "modelyard.services.trainer.worker",
    "modelyard.pipeline.job",
    "modelyard.pipeline.stages.promote",
    "modelyard.models.catalog",
    "modelyard.services.scheduler.scheduler",
    "modelyard.services.tracing.otlp",
)


IMPORTING = """
import importlib, json, os, sys, threading

def list_sockets():
    places = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return [place for place in places if os.path.exists(place) and "socket" in os.readlink(place)]

def import_one(module):
    importlib.import_module(module)
    return [name for name in ("keras", "tensorflow.python", "opentelemetry") if name in sys.modules]

found = {sys.argv[1]: import_one(sys.argv[1])}
database = "sqlalchemy" in sys.modules
found |= {module: import_one(module) for module in sys.argv[2:]}
state = {"threads": threading.active_count(), "sockets": list_sockets()}
print(json.dumps({"loaded": found, "database": database, **state}))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, Any]:
    """What came of importing one module after the other: what each had loaded, and what goes on at the end."""
    command = [sys.executable, "-c", IMPORTING, *MODULES]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_neither_keras_nor_the_tensorflow_runtime_nor_opentelemetry_is_loaded(
    imported: dict[str, Any], module: str
) -> None:
    """TensorFlow's runtime costs 7 s and 700 MB, and these processes compute nothing; traces are off."""
    assert imported["loaded"][module] == []


def test_the_gateway_begins_without_a_database(imported: dict[str, Any]) -> None:
    """SQLAlchemy takes half a second, and one that only predicts may never need it."""
    assert MODULES[0] == "modelyard.services.gateway.wsgi"
    assert imported["database"] is False


def test_importing_starts_nothing(imported: dict[str, Any]) -> None:
    """No thread, no child process, no open socket by import alone."""
    assert (imported["threads"], imported["sockets"]) == (1, [])


HIDING = """
import importlib.metadata, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    packages = importlib.metadata.packages_distributions()

    def find_spec(self, name, path, target=None):
        found = self.packages.get(name)
        if found and not {each.lower().replace("_", "-").replace(".", "-") for each in found} & set(sys.argv[1:]):
            raise ModuleNotFoundError(f"{name} is not declared", name=name)

sys.meta_path.insert(0, Hidden())
import modelyard.services.gateway.wsgi, modelyard.services.scheduler.scheduler
from modelyard.services import broker

print(broker.make_sender("redis://127.0.0.1:1/0").connection_for_write().transport.driver_name)
"""


def test_a_gateway_needs_only_packages_that_are_declared() -> None:
    """Its image has no others: what a dependency imports without declaring it is declared here."""
    command = [sys.executable, "-c", HIDING, *find_closure("modelyard[gateway]")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "redis\n"


def find_closure(requirement: str) -> set[str]:
    """Names of the distributions that it needs, itself included."""
    found, left = set[str](), [Requirement(requirement)]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        if name in found or name == "tensorflow":  # the API's message classes do without: decision 0002
            continue
        found.add(name)
        extras = wanted.extras or {""}
        for text in importlib.metadata.requires(wanted.name) or ():
            needed = Requirement(text)
            if not needed.marker or any(needed.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                left.append(needed)
    return found
