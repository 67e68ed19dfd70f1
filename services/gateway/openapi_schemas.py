"""Bodies of requests and answers as the OpenAPI document describes them. Loaded by the first who asks for it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from models.kinds import Source, Task
from models.manifest import BaselineRecord, DataRecord, Environment, RecipeRecord, Training, Verdict
from models.rollout import Canary, Change, Shadow
from services.gateway.feedback import Told
from services.gateway.rollouts import Promotion, Rollback, RolloutAsked
from services.jobs import TrainJob
from services.keys import KeyAsked, Role
from services.searches import SearchAsked
from services.triggers import Trigger

Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
"""A number of 64 bits, which JSON writes as a string."""
Size = Annotated[int, Field(ge=0)]


class Body(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Error(Body):
    """What was expected and what came."""

    error: str


# --- /api -------------------------------------------------------------------------------------------------------------


class Metric(Body):
    """The number that the gate judged by."""

    name: str
    value: float


class DataName(Body):
    """What a version was trained on."""

    name: str
    source: Source


class ModelSummary(Body):
    """A model by its stable version."""

    name: str
    task: Task
    summary: str
    stable: int | None
    metric: Metric
    data: DataName
    labels: list[str]


class DamagedModel(Error):
    """A model whose version cannot be read."""

    name: str
    stable: int | None


class Models(Body):
    """What is served, and what can be trained."""

    models: list[ModelSummary | DamagedModel]
    trainable: list[str]


class RolloutState(Body):
    """Which versions are loaded, and which one answers."""

    stable: int | None
    canary: Canary | None
    shadow: Shadow | None
    labels: dict[str, int]
    keep: list[int]


class VersionRecord(Body):
    """Where a version came from and how good it is."""

    version: int
    created_at: datetime
    metrics: dict[str, float]
    data: DataRecord
    recipe: RecipeRecord
    verdict: Verdict
    state: str


class DamagedVersion(Error):
    """A version that cannot be read."""

    version: int
    state: str


class ModelRecord(Body):
    """A model with all its versions."""

    name: str
    rollout: RolloutState
    versions: list[VersionRecord | DamagedVersion]


class RolloutHistory(RolloutState):
    """Who decided what, the newest change first."""

    history: list[Change]
    observed: dict[str, Any] | None = None
    """Of a canary and a shadow; null where there is neither, or the ledger is away."""


class RollbackRequest(Rollback):
    """Why; the body may be left out."""


class PromotionRequest(Promotion):
    """Which version, and why; ``force`` needs a reason, and overrules the gate, never the comparison of answers."""


class RolloutRequest(RolloutAsked):
    """Roles of versions: what is left out stays as it is, null ends it."""


class DecisionRecord(Body):
    """Where a version came from, how it was judged, and every decision about it."""

    model: str
    version: int
    task: Task
    summary: str
    created_at: datetime
    input: dict[str, Any]
    labels: list[str]
    data: DataRecord
    recipe: RecipeRecord
    training: Training
    metrics: dict[str, float]
    baseline: BaselineRecord | None
    verdict: Verdict
    environment: Environment
    job: str | None
    stable: bool
    loaded: bool
    roles: list[str]
    removed: bool
    changes: list[Change]


class FeedbackRequest(Told):
    """What is true of one row of an answered request: a label, by name or number, or a value."""


class FeedbackTaken(Body):
    """Whose answer it was, and whether it was right; null for numbers."""

    model: str
    version: int
    right: bool | None


class MadeBy(Body):
    """Where an answer came from."""

    request_id: str
    at: datetime
    model: str
    version: int
    predicted: str | float
    data: DataRecord
    job: str | None


class JobRequest(TrainJob):
    """What to train."""


class TriggerAsked(Trigger):
    """One of ``cron`` (five fields, in UTC), ``feedback``, ``quality`` and ``psi`` (drift), and the job."""


class ShiftShown(Body):
    """How far a histogram has moved."""

    psi: float
    p_value: float | None


class DriftShown(Body):
    """How far what the stable version is asked, and answers, has moved from what it was measured on."""

    model: str
    version: int | None
    answers: int
    shifts: dict[str, ShiftShown]
    at: datetime | None


class TriggerShown(TriggerAsked):
    """A trigger, and when it last started which job."""

    model: str
    name: str
    since: datetime
    fired_at: datetime | None
    job_id: str | None


class TriggerList(Body):
    """In order of name."""

    triggers: list[TriggerShown]


class Job(Body):
    """A training job, and how it goes."""

    id: str
    model: str
    recipe: str
    overrides: dict[str, Any]
    data: str
    rollout: str
    priority: Literal["high", "normal", "low"]
    devices: str
    budget_s: float | None
    with_feedback: bool
    retry_of: str | None
    group: str | None
    by: str
    state: Literal["queued", "running", "publishing", "succeeded", "rejected", "failed", "cancelled"]
    attempts: int
    losses: int
    spent_s: float
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: dict[str, Any]
    result: dict[str, Any]
    stage: str | None
    epoch: int | None
    metrics: dict[str, Any]
    version: int | None


class JobEvent(Body):
    """One line of a job's story."""

    id: int
    at: datetime
    kind: str
    body: dict[str, Any]


class JobStory(Job):
    """A job with its events."""

    events: list[JobEvent]


class Jobs(Body):
    """The newest first; ``next`` is the ``before`` of the page after this one."""

    jobs: list[Job]
    next: str | None


class SearchRequest(SearchAsked):
    """A search over the ranges that a model declares."""


class TriedShown(Body):
    """A trial in a rung; ``value`` is the metric on the validation split."""

    trial: int
    job: str
    state: str
    value: float | None
    version: int | None


class RungShown(Body):
    """How many trials train for how long, and how those do that have begun."""

    trials: int
    epochs: int
    min_steps: int
    tried: list[TriedShown]


class BestTrial(TriedShown):
    """The one that is left."""

    values: dict[str, Any]


class SearchShown(Body):
    """A search, and how it goes."""

    id: str
    model: str
    by: str
    state: Literal["running", "succeeded", "failed", "cancelled"]
    reason: str
    metric: str
    asked: SearchRequest
    values: list[dict[str, Any]]
    rungs: list[RungShown]
    jobs: dict[str, int]
    best: BestTrial | None
    created_at: datetime
    finished_at: datetime | None


class SearchList(Body):
    """The newest first."""

    searches: list[SearchShown]


class KeyRequest(KeyAsked):
    """Whose it is to be, and what for."""


class KeyShown(Body):
    """A key, without its secret."""

    prefix: str
    name: str
    role: Role
    models: list[str]
    state: Literal["active", "expired", "revoked"]
    by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class KeyMade(KeyShown):
    """The key itself, this once."""

    key: str


class KeyList(Body):
    """Those that have ended, too."""

    keys: list[KeyShown]


# --- the process ------------------------------------------------------------------------------------------------------


class Alive(Body):
    """The process answers."""

    live: Literal[True]


class Ready(Body):
    """Predictions would be answered."""

    ready: Literal[True]


class NotReady(Body):
    """Why predictions would not be answered."""

    ready: Literal[False]
    reasons: list[str] = Field(min_length=1)


class Release(Body):
    """Name and version."""

    name: str
    version: str


class Routes(Body):
    """Methods and paths."""

    routes: list[str]


class Document(RootModel[dict[str, Any]]):
    """OpenAPI 3.1."""
