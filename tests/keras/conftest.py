"""Tests that compute: one thread, fixed before TensorFlow's first operation, as training does it."""

import os
from collections.abc import Iterator

import pytest

from modelyard.models.backend import use_backend
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.order import longest_first


def pytest_configure(config: pytest.Config) -> None:
    """Not where the tests are only handed out to other processes: the import takes seconds."""
    if config.getoption("dist", "no") == "no":
        use_one_thread()


def use_one_thread() -> None:
    use_backend("tensorflow")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest, so that none of them is left alone at the end."""
    longest_first(items, ("test_devices", "test_warm_start", "pipeline"))


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """What export and evaluation are forked from. Its hash seed is another one than this process has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
        server = ForkServer()
    with server:
        yield server
