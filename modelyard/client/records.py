"""What the gateway's API answers with, besides predictions. ``raw`` is the answer as it came, with every field."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, Self

from modelyard.client.errors import BrokenAnswer

TIMES = frozenset({"created_at", "started_at", "finished_at", "fired_at", "at"})


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record; fields that a newer gateway adds are in ``raw``."""

    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, body: Any) -> Self:
        """Raises ``BrokenAnswer`` if a field is missing."""
        if not isinstance(body, dict):
            raise BrokenAnswer(f"expected a {cls.__name__}, received {type(body).__name__}")
        found: dict[str, Any] = {"raw": body}
        for each in fields(cls):
            if each.name in body:
                found[each.name] = _read_value(each.name, body[each.name])
            elif each.name != "raw" and each.default is MISSING and each.default_factory is MISSING:
                raise BrokenAnswer(f"expected a {cls.__name__} with {each.name!r}; is the gateway of another release?")
        return cls(**found)


def _read_value(name: str, value: Any) -> Any:
    return datetime.fromisoformat(value) if name in TIMES and isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A training job."""

    id: str
    model: str
    recipe: str
    state: str
    """queued, running, publishing; or ended: succeeded, rejected, failed, cancelled."""
    stage: str | None = None
    epoch: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    version: int | None = None
    """The version that it published."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    """The newest report: stage, epoch, epochs, step, steps, eta_s, metrics."""
    result: Mapping[str, Any] = field(default_factory=dict)
    waits_for: str | None = None
    """The worker that it lacks."""
    by: str = ""
    group: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.finished_at is not None

    @property
    def reason(self) -> str:
        """Why it was rejected, failed or cancelled."""
        return str(self.result.get("reason") or "")


@dataclass(frozen=True, kw_only=True)
class JobEvent(Record):
    """One event of a job: ``state``, ``progress``, or ``now``, which is not kept and has no id."""

    id: int | None = None
    kind: str
    body: Mapping[str, Any]
    at: datetime | None = None

    @property
    def state(self) -> str | None:
        """The new state, if it is an event of a state."""
        return self.body.get("state") if self.kind == "state" else None

    @property
    def stage(self) -> str | None:
        """The stage of a progress report."""
        return self.body.get("stage")

    @property
    def metrics(self) -> Mapping[str, float]:
        """Those of a progress report."""
        return self.body.get("metrics") or {}

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds until the job's training ends; None while nothing can be said."""
        return self.body.get("eta_s")


@dataclass(frozen=True, kw_only=True)
class Search(Record):
    """A search over many trainings."""

    id: str
    model: str
    state: str
    reason: str = ""
    metric: str = ""
    rungs: Sequence[Mapping[str, Any]] = ()
    best: Mapping[str, Any] | None = None
    created_at: datetime
    finished_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.finished_at is not None


@dataclass(frozen=True, kw_only=True)
class Model(Record):
    """A model and its versions."""

    name: str
    rollout: Mapping[str, Any] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    """Its inputs by name, and a body that works as it is."""
    versions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class ModelSummary(Record):
    """A served model, by its stable version."""

    name: str
    stable: int | None = None
    task: str | None = None
    summary: str = ""
    labels: Sequence[str] = ()
    metric: Mapping[str, Any] | None = None
    pool: str = "default"
    """The pool of model servers that answers."""
    error: str | None = None
    """Why its version cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Models(Record):
    """Models that are served, that can be trained, and whose file is broken."""

    served: Sequence[ModelSummary]
    trainable: Sequence[str]
    broken: Mapping[str, str]
    """Reasons by name."""


@dataclass(frozen=True, kw_only=True)
class Pool(Record):
    """A pool of model servers."""

    name: str
    servers: int
    reachable: int
    memory_mb: int | None
    """What each server has for models; None where no setting says."""
    taken_mb: int
    versions: Sequence[Mapping[str, Any]] = ()
    """model, version and memory_mb of each that it loads."""


@dataclass(frozen=True, kw_only=True)
class Rollout(Record):
    """Roles of a model's versions."""

    stable: int | None
    canary: Mapping[str, Any] | None = None
    """version, percent, judged, …"""
    shadow: Mapping[str, Any] | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    keep: Sequence[int] = ()
    fallback: bool = True
    placement: Mapping[str, Any] = field(default_factory=dict)
    """pool, and while the model moves arriving or leaving."""
    history: Sequence[Mapping[str, Any]] = ()
    """The newest change first."""
    observed: Mapping[str, Any] | None = None
    """Counts of canary and shadow."""


@dataclass(frozen=True, kw_only=True)
class Trigger(Record):
    """A condition that starts jobs."""

    name: str
    fired_at: datetime | None = None
    job_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Feedback(Record):
    """What the truth was about."""

    model: str
    version: int
    right: bool | None = None
    """None for numbers."""
