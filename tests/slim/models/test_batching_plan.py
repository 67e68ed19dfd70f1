"""Batching plans: the decision, the file, and the gateway that keeps to it."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.errors import CorruptData
from modelyard.models.registry import batching_plan
from modelyard.models.registry.batching_plan import (
    BatchingPlan,
    BatchMeasurement,
    choose_max_batch,
    read_plans,
    write_plan,
)
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.services.cli.commands.batching.plan_batches import measure_size, read_golden_inputs, repeat_rows
from modelyard.services.gateway.http.paths import Servable
from tests.support.fakes import HALF_PLUS, FakeModelServer

CURVE = (
    BatchMeasurement(batch=1, p50_ms=1, p99_ms=2, rows_per_s=1000),
    BatchMeasurement(batch=8, p50_ms=2, p99_ms=4, rows_per_s=4000),
    BatchMeasurement(batch=64, p50_ms=20, p99_ms=40, rows_per_s=3200),
)


def plan(version: int, most: int) -> BatchingPlan:
    return BatchingPlan(
        version=version, signature="serving_default", max_batch=most, target_ms=5, machine="here",
        measured_at=datetime.now(UTC), curve=CURVE,
    )  # fmt: skip


@pytest.mark.parametrize(("target_ms", "batch"), [(100, 8), (5, 8), (3, 1), (1, 1)])
def test_the_fastest_batch_within_the_target_is_taken(target_ms: float, batch: int) -> None:
    """Not the largest: rows a second fall again. One row where nothing meets the target."""
    assert choose_max_batch(CURVE, target_ms) == batch


def test_a_plan_is_stored_by_version_and_replaced(tmp_path: Path) -> None:
    """Others stay."""
    store = Store(tmp_path)
    (tmp_path / "m").mkdir()
    for version, most in ((1, 8), (2, 16), (1, 4)):
        write_plan(store, "m", plan(version, most))
    assert {number: found.max_batch for number, found in read_plans(store, "m").plans.items()} == {1: 4, 2: 16}


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    """With its model."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / batching_plan.FILE).write_text("{")
    with pytest.raises(CorruptData, match="batching plan of m is damaged"):
        read_plans(Store(tmp_path), "m")


def test_the_gateway_keeps_to_a_plan(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Sixteen clients at once, batches of two at most."""
    write_plan(filled, HALF_PLUS, plan(2, 2))

    def ask(value: float) -> object:
        found = client.application.test_client().post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[value]]})
        return found.json["predictions"]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [[[value / 2 + 2]] for value in range(16)]
    sizes = [call.inputs["vectors"].tensor_shape.dim[0].size for call in server.calls]
    assert max(sizes) <= 2
    assert sum(sizes) == 16


def test_a_running_gateway_takes_a_plan_up_by_itself(client: FlaskClient, filled: Store) -> None:
    """Within a second or so."""
    predictor = client.application.extensions["predictor"]
    assert predictor.wait_for_interface(Servable(HALF_PLUS)).max_batch is None
    write_plan(filled, HALF_PLUS, plan(2, 2))
    deadline = time.monotonic() + 60
    while predictor.wait_for_interface(Servable(HALF_PLUS)).max_batch != 2:
        assert time.monotonic() < deadline


def test_a_version_without_golden_inputs_is_named(filled: Store) -> None:
    """Nothing else is known to be an input that it takes."""
    with pytest.raises(CorruptData, match=f"{HALF_PLUS} version 2 has no golden inputs"):
        read_golden_inputs(filled, HALF_PLUS, 2)


def test_a_batch_size_is_measured_against_the_model_server(server: FakeModelServer) -> None:
    """Golden rows are taken round and round to fill a batch."""
    inputs = repeat_rows({"vectors": np.array([[1.0], [2.0], [3.0]], np.float32)}, 7)
    assert inputs["vectors"].ravel().tolist() == [1, 2, 3, 1, 2, 3, 1]
    client = ServingClient(server.address)
    point = measure_size(client, HALF_PLUS, 2, inputs, 7, seconds=0.01)
    client.close()
    assert point.batch == 7
    assert 0 < point.p50_ms <= point.p99_ms
