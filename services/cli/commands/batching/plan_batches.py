"""``modelyard plan-batches``: measures batch sizes on the running model server, and records the best one."""

import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from modelyard.models.errors import CorruptData, UnknownName
from modelyard.models.registry.batching_plan import BatchingPlan, BatchMeasurement, choose_max_batch, write_plan
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.models.types import Array
from modelyard.pipeline.golden import input_key, load_golden
from modelyard.services.cli import output

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIGNATURE = "serving_default"
WARM_UP_CALLS = 3
MIN_CALLS = 20
TIMEOUT_S = 60.0


def plan_batches(
    store: Store,
    model: str,
    version: int | None,
    serving: str,
    target_ms: float,
    seconds: float,
    tls: TlsFiles | None = None,
) -> BatchingPlan:
    """Measures each size, and writes the plan. ``tls``: files of the connection; None: it is plain.

    Raises:
        UnknownName: no such version. ServingFailed: the model server refuses, or cannot be reached.
    """
    number = version or read_rollout(store, model).stable
    if number is None:
        raise UnknownName(f"{model} has no stable version; name one with --version")
    inputs = read_golden_inputs(store, model, number)
    server = ServingClient(serving, tls)
    curve = []
    for size in SIZES:
        with output.errors.status(f"batches of {size}"):
            curve.append(measure_size(server, model, number, repeat_rows(inputs, size), size, seconds))
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
    return plan


def read_golden_inputs(store: Store, model: str, version: int) -> dict[str, Array]:
    """The golden inputs of the version's default signature: real inputs.

    Raises:
        CorruptData: the version has none that can be read.
    """
    names = {spec.name for spec in store.manifest(model, version).signatures[SIGNATURE].inputs}
    try:
        golden = load_golden(store.path(model, version))
        return {name: golden[input_key(SIGNATURE, name)] for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise CorruptData(f"{model} version {version} has no golden inputs to ask it with: {error}") from error


def repeat_rows(inputs: Mapping[str, Array], size: int) -> dict[str, Array]:
    """``size`` rows of the inputs, repeated in turn."""
    return {name: np.take(array, range(size), axis=0, mode="wrap") for name, array in inputs.items()}


def measure_size(
    server: ServingClient, model: str, version: int, inputs: Mapping[str, Array], size: int, seconds: float
) -> BatchMeasurement:
    """Calls one after the other, for ``seconds``."""
    took_s = []
    until = time.monotonic() + seconds
    for call in range(10**9):
        started = time.perf_counter()
        server.predict(model, version, SIGNATURE, inputs, TIMEOUT_S)
        took_s.append(time.perf_counter() - started)
        if call >= WARM_UP_CALLS + MIN_CALLS and time.monotonic() > until:
            break
    p50, p99 = np.percentile(took_s[WARM_UP_CALLS:], [50, 99]) * 1000
    return BatchMeasurement(
        batch=size, p50_ms=round(p50, 3), p99_ms=round(p99, 3), rows_per_s=round(size / p50 * 1000, 1)
    )


def print_plan(plan: BatchingPlan, model: str) -> None:
    """The curve, and the size that was chosen."""
    rows = [(point.batch, point.p50_ms, point.p99_ms, f"{point.rows_per_s:.0f}") for point in plan.curve]
    output.print_table("batch", "p50 ms", "p99 ms", "rows/s", rows=rows)
    fits = any(point.p99_ms <= plan.target_ms for point in plan.curve)
    text = f"batches of at most {plan.max_batch}" if fits else "no size meets the target: one row at a time"
    output.console.print(f"{model} version {plan.version}, p99 within {plan.target_ms:g} ms: {text}", markup=False)
