"""What the slim side must never load, seen in a process of its own."""

import subprocess
import sys

import pytest

MODULES = (
    "modelyard.services.gateway.wsgi",
    "modelyard.services.gateway.api.jobs",
    "modelyard.services.jobs",
    "modelyard.services.ledger",
    "modelyard.services.cli.main",
    "modelyard.services.cli.commands.up",
    "modelyard.services.cli.commands.doctor",
    "modelyard.services.trainer.worker",
    "modelyard.pipeline.job",
    "modelyard.pipeline.stages.promote",
    "modelyard.models.catalog",
)


@pytest.mark.parametrize("module", MODULES)
def test_neither_keras_nor_the_tensorflow_runtime_is_loaded(module: str) -> None:
    """TensorFlow's runtime costs 7 s and 700 MB; these processes compute nothing."""
    code = f"import sys, {module}; print([m for m in sys.modules if m in ('keras', 'tensorflow.python')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_starts_nothing() -> None:
    """No thread, no child process, no open socket by import alone."""
    code = (
        f"import threading, os, {', '.join(MODULES)}; "
        "print(threading.active_count(), [f for f in os.listdir('/proc/self/fd') "
        "if os.path.exists(f'/proc/self/fd/{f}') and 'socket' in os.readlink(f'/proc/self/fd/{f}')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "1 []"
