"""One ``modelyard up`` for all tests of this folder: each takes it as the others left it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import System


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory, trained: Path, known: Path) -> Iterator[System]:
    """Serves ``mnist_mlp``, which it has found in its store, and ``neuron``, which it has trained.

    Its model server has a process of its own, to be killed; that of the console's tests is in the gateway's.
    """
    home = tmp_path_factory.mktemp("system") / "home"
    for store in (trained, known):
        shutil.copytree(store, home / "store", dirs_exist_ok=True)
    arguments = ("--isolated", "--data", "sample", "--model", "mnist_mlp", "--model", "neuron")
    running = System(home, arguments).start()
    yield running
    if running.process and running.process.poll() is None:
        assert running.stop() == []
