"""The largest batch of a version on this machine, and the measurements behind it.

``<store>/<model>/batching.json`` lies beside the versions, not in one: a version is immutable, and a plan belongs to
the machine that it was measured on. Slim.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import FrozenModel
from modelyard.models.registry.store import Store, first_line, replace_file

FILE = "batching.json"


class BatchMeasurement(FrozenModel):
    """Latency and throughput of one batch size."""

    batch: Annotated[int, Field(ge=1)]
    p50_ms: float
    p99_ms: float
    rows_per_s: float


class BatchingPlan(FrozenModel):
    """The largest batch whose latency meets the target."""

    version: int
    signature: str
    max_batch: Annotated[int, Field(ge=1)]
    target_ms: float
    machine: str
    measured_at: datetime
    curve: tuple[BatchMeasurement, ...]


class BatchingPlans(FrozenModel):
    """All plans of a model, by version."""

    plans: dict[int, BatchingPlan] = Field(default_factory=dict)


def choose_max_batch(curve: tuple[BatchMeasurement, ...], target_ms: float) -> int:
    """The batch size with the most rows a second among those whose p99 meets the target; 1 if none does."""
    fitting = [point for point in curve if point.p99_ms <= target_ms]
    return max(fitting, key=lambda point: point.rows_per_s).batch if fitting else 1


def read_plans(store: Store, model: str) -> BatchingPlans:
    """A model's plans; empty if there is no file.

    Raises:
        CorruptData: the file cannot be parsed.
    """
    try:
        return BatchingPlans.model_validate_json((store.folder(model) / FILE).read_bytes())
    except FileNotFoundError:
        return BatchingPlans()
    except ValueError as error:
        raise CorruptData(f"batching plan of {model} is damaged: {first_line(error)}") from error


def write_plan(store: Store, model: str, plan: BatchingPlan) -> None:
    """Writes a plan, in place of an older one for the same version."""
    path = store.folder(model) / FILE

    def change() -> None:
        plans = BatchingPlans(plans={**read_plans(store, model).plans, plan.version: plan})
        replace_file(path, plans.model_dump_json(indent=1).encode())

    with store.change_pointers():
        store.change_file(path, change)
