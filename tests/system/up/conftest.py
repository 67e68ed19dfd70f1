"""One ``modelyard up`` for all tests of this folder: each takes it as the others left it."""

from collections.abc import Iterator

import pytest

from tests.system.conftest import System


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Serves ``mnist_mlp`` and ``neuron``, trained on what ships with the project."""
    home = tmp_path_factory.mktemp("system") / "home"
    running = System(home, ("--data", "sample", "--model", "mnist_mlp", "--model", "neuron")).start()
    yield running
    if running.process and running.process.poll() is None:
        assert running.stop() == []
