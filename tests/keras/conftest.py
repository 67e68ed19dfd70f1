"""Tests that compute: one thread, fixed before TensorFlow's first operation, as training does it."""

import pytest

from modelyard.models.backend import use_backend
from tests.support.order import longest_first
from tests.support.profiles import register_profiles
from tests.support.shared_forks import forks, share_forks

__all__ = ["forks"]
register_profiles()


def pytest_configure(config: pytest.Config) -> None:
    """Not where the tests are only handed out to other processes: the import takes seconds."""
    share_forks(config)
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
