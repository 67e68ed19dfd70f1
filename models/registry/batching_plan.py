"""How large batches of a version may be on this machine, and the measurement behind it.

``<store>/<model>/batching.json`` lies beside the versions, not in one: a version is sealed, and a plan belongs to the
machine that it was measured on. Slim.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import Frozen
from modelyard.models.registry.store import Store, first_line, replace_file

FILE = "batching.json"


class Point(Frozen):
    """One batch size as measured."""

    batch: Annotated[int, Field(ge=1)]
    p50_ms: float
    p99_ms: float
    rows_per_s: float


class Plan(Frozen):
    """The largest batch that keeps its latency below the target."""

    version: int
    signature: str
    max_batch: Annotated[int, Field(ge=1)]
    target_ms: float
    machine: str
    measured_at: datetime
    curve: tuple[Point, ...]


class Plans(Frozen):
    """All plans of a model, by version."""

    plans: dict[int, Plan] = Field(default_factory=dict)


def decide(curve: tuple[Point, ...], target_ms: float) -> int:
    """The batch with the most rows a second among those whose p99 meets the target; one row where none does."""
    fitting = [point for point in curve if point.p99_ms <= target_ms]
    return max(fitting, key=lambda point: point.rows_per_s).batch if fitting else 1


def read(store: Store, model: str) -> Plans:
    """A model's plans; none if there is no file.

    Raises:
        CorruptData: the file cannot be understood.
    """
    try:
        return Plans.model_validate_json((store.folder(model) / FILE).read_bytes())
    except FileNotFoundError:
        return Plans()
    except ValueError as error:
        raise CorruptData(f"batching plan of {model} is damaged: {first_line(error)}") from error


def write(store: Store, model: str, plan: Plan) -> None:
    """Keeps a plan in place of an older one for the same version."""
    with store.lock():
        plans = Plans(plans={**read(store, model).plans, plan.version: plan})
        replace_file(store.folder(model) / FILE, plans.model_dump_json(indent=1).encode())
