"""``modelyard plan-batches``: measures batch sizes against the running model server, and writes down the best one."""

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from modelyard.models.errors import UnknownName
from modelyard.models.registry.batching_plan import BatchingPlan, BatchMeasurement, choose_max_batch, write_plan
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.types import Array
from modelyard.pipeline.golden import load_golden
from modelyard.services.cli import output as show

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIGNATURE = "serving_default"
WARM_UP = 3
LEAST_CALLS = 20
TIMEOUT_S = 60.0


def plan_batches(store: Store, model: str, version: int | None, serving: str, target_ms: float, seconds: float) -> None:
    """Sweeps the sizes, prints the curve and keeps the plan.

    Raises:
        UnknownName: no such version. ServingFailed: the model server refuses, or is not there.
    """
    number = version or read_rollout(store, model).stable
    if number is None:
        raise UnknownName(f"{model} has no stable version; name one with --version")
    inputs = golden_inputs(store, model, number)
    server = ServingClient(serving)
    curve = []
    for size in SIZES:
        with show.console.status(f"batches of {size}"):
            curve.append(measure(server, model, number, repeated(inputs, size), size, seconds))
        if curve[-1].p50_ms > target_ms:
            break
    server.close()
    measured_at = datetime.now(UTC)
    best = choose_max_batch(tuple(curve), target_ms)
    plan = BatchingPlan(
        version=number,
        signature=SIGNATURE,
        max_batch=best,
        target_ms=target_ms,
        machine=f"{platform.machine()} {platform.node()}",
        measured_at=measured_at,
        curve=tuple(curve),
    )
    write_plan(store, model, plan)
    announce(plan, model)


def golden_inputs(store: Store, model: str, version: int) -> dict[str, Array]:
    """What the version was held against when it was exported: real inputs of the default signature."""
    names = {spec.name for spec in store.manifest(model, version).signatures[SIGNATURE].inputs}
    kept = load_golden(store.path(model, version))
    return {name: kept[f"{SIGNATURE}/{name}"] for name in names}


def repeated(inputs: Mapping[str, Array], size: int) -> dict[str, Array]:
    """As many rows as wanted, taken round and round."""
    return {name: np.take(array, range(size), axis=0, mode="wrap") for name, array in inputs.items()}


def measure(
    server: ServingClient, model: str, version: int, inputs: Mapping[str, Array], size: int, seconds: float
) -> BatchMeasurement:
    """Calls one after the other, for a while."""
    took_s = []
    until = time.monotonic() + seconds
    for call in range(10**9):
        started = time.perf_counter()
        server.predict(model, version, SIGNATURE, inputs, TIMEOUT_S)
        took_s.append(time.perf_counter() - started)
        if call >= WARM_UP + LEAST_CALLS and time.monotonic() > until:
            break
    p50, p99 = np.percentile(took_s[WARM_UP:], [50, 99]) * 1000
    return BatchMeasurement(
        batch=size, p50_ms=round(p50, 3), p99_ms=round(p99, 3), rows_per_s=round(size / p50 * 1000, 1)
    )


def announce(plan: BatchingPlan, model: str) -> None:
    rows = [(point.batch, point.p50_ms, point.p99_ms, f"{point.rows_per_s:.0f}") for point in plan.curve]
    show.table("batch", "p50 ms", "p99 ms", "rows/s", rows=rows)
    fits = any(point.p99_ms <= plan.target_ms for point in plan.curve)
    text = f"batches of at most {plan.max_batch}" if fits else "no size meets the target: one row at a time"
    show.console.print(f"{model} version {plan.version}, p99 within {plan.target_ms:g} ms: {text}", markup=False)
