"""Tests that compute: one thread, fixed before TensorFlow's first operation, as training does it."""

from collections.abc import Iterator

import pytest

from modelyard.models.backend import use_backend
from modelyard.pipeline.processes.forkserver import ForkServer

use_backend("tensorflow")

import tensorflow as tf  # noqa: E402  # after the backend is settled

from tests.support.order import longest_first  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the longest, so that none of them is left alone at the end."""
    longest_first(items, ("test_devices", "test_warm_start", "pipeline"))


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    """What export and evaluation are forked from."""
    with ForkServer() as server:
        yield server
