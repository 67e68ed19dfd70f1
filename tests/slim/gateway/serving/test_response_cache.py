"""Kept answers: found by what the model would see, never across versions, bounded by memory."""

import numpy as np
import pytest
from flask import Flask

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Outputs, Target
from modelyard.services.gateway.serving.response_cache import OVERHEAD_BYTES, ResponseCache, hash_inputs
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import HALF_PLUS, REVIEWS, FakeModelServer

TARGET = Target("m", 1, "serving_default")


def outputs_of_size(size: int = 1) -> Outputs:
    return Outputs({"y": np.ones(size, np.float64)}, 1)


def test_equal_inputs_have_equal_keys_and_others_do_not() -> None:
    """Name, type, shape, content, version and signature all count; where one string ends and the next begins, too."""
    texts = {"x": np.array([b"ab", b"c"], dtype=object)}
    numbers = {"x": np.zeros((2, 2), np.float32)}
    assert hash_inputs(TARGET, numbers) == hash_inputs(TARGET, {"x": np.zeros((2, 2), np.float32)})
    others = [
        hash_inputs(TARGET, texts),
        hash_inputs(TARGET, {"x": np.array([b"a", b"bc"], dtype=object)}),
        hash_inputs(TARGET, {"x": np.zeros((4,), np.float32)}),
        hash_inputs(TARGET, {"x": np.zeros((2, 2), np.int32)}),
        hash_inputs(TARGET, {"y": np.zeros((2, 2), np.float32)}),
        hash_inputs(TARGET._replace(version=2), numbers),
        hash_inputs(TARGET._replace(signature="other"), numbers),
        hash_inputs(TARGET, numbers),
    ]
    assert len(set(others)) == len(others)


def test_only_chosen_models_and_fixed_versions_are_cached() -> None:
    """A floating version may be another one at the next call."""
    cache = ResponseCache(["m"], 10_000, Metrics())
    assert cache.key(TARGET, {})
    assert cache.key(Target("other", 1, "s"), {}) is None
    assert cache.key(Target("m", None, "s"), {}) is None


def test_the_least_recently_used_go_first_and_memory_is_bounded() -> None:
    """Three of about 600 bytes in 2000; one larger than everything is not cached at all."""
    cache = ResponseCache(["m"], 2000, Metrics())
    for key in (b"a", b"b", b"c"):
        cache.put(key, outputs_of_size(10))
    assert cache.get(b"a", "m") is not None
    cache.put(b"d", outputs_of_size(10))
    assert [cache.get(key, "m") is not None for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    cache.put(b"huge", outputs_of_size(2000 - OVERHEAD_BYTES))
    assert cache.get(b"huge", "m") is None
    assert cache.get(b"d", "m") is not None


def test_a_cached_row_does_not_retain_its_batch() -> None:
    """It is copied out of the thousand rows that it came with."""
    cache = ResponseCache(["m"], 10_000, Metrics())
    batch = np.zeros((1000, 10))
    cache.put(b"a", Outputs({"y": batch[3:4]}, 1))
    kept = cache.get(b"a", "m")
    assert kept is not None
    assert kept["y"].base is None


@pytest.fixture
def cached_app(settings: GatewaySettings) -> Flask:
    return create_app(settings.model_copy(update={"cached_models": (HALF_PLUS,)}))


def test_equal_requests_reach_the_model_once_per_version(
    cached_app: Flask, filled: Store, server: FakeModelServer
) -> None:
    """In either form; a new stable version is called anew; the hit rate is in the metrics."""
    client = cached_app.test_client()
    row, column = {"instances": [[1.0]]}, {"inputs": {"vectors": [[1.0]]}}
    assert [client.post(f"/v1/models/{HALF_PLUS}:predict", json=row).json for _ in range(3)] == [
        {"predictions": [[2.5]]}
    ] * 3
    assert client.post(f"/v1/models/{HALF_PLUS}:predict", json=column).json == {"outputs": [[2.5]]}
    assert len(server.calls) == 1
    change_rollout(filled, HALF_PLUS, lambda found: found.promote(1, by="test", reason="back"))
    answered = client.post(f"/v1/models/{HALF_PLUS}:predict", json=row)
    assert (answered.json, answered.headers["X-Model-Version"]) == ({"predictions": [[1.5]]}, "1")
    shown = client.get("/metrics").text
    assert f'modelyard_gateway_cache_lookups_total{{model="{HALF_PLUS}",result="hit"}} 3.0' in shown
    assert f'modelyard_gateway_cache_lookups_total{{model="{HALF_PLUS}",result="miss"}} 2.0' in shown
    cached_app.extensions["predictor"].close()


def test_models_that_are_not_chosen_are_not_cached(cached_app: Flask, server: FakeModelServer) -> None:
    """It is their choice."""
    client = cached_app.test_client()
    for _ in range(2):
        client.post(f"/v1/models/{REVIEWS}:predict", json={"instances": ["good"]})
    assert len(server.calls) == 2
    cached_app.extensions["predictor"].close()
