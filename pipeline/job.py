"""A job's request, its locations, and its outcomes. Slim: no Keras, no TensorFlow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from modelyard.models.registry.manifest import Manifest, Verdict
from modelyard.models.registry.sharing.shared_store import open_store
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import EXAMPLES, Sources
from modelyard.models.tfserving.pools import ServingPools
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.pipeline.job_options import DataPolicy, RolloutTarget


@dataclass(frozen=True)
class TrainingJob:
    """Request for one training run."""

    model: str
    recipe: str
    overrides: Mapping[str, Any]
    data: DataPolicy
    rollout: RolloutTarget
    by: str
    """Who or what requested it, for the decision record."""
    job: str | None = None
    """Its id, if it comes from the queue. An id is published once, however often it is started."""
    attempt: int = 1
    """Which attempt of the job this is."""
    name: str = "job"
    """Name of its temporary folders."""
    feedback: Path | None = None
    """File of feedback to train on as well (``pipeline/stages/feedback.py``)."""


@dataclass(frozen=True)
class JobLocations:
    """Folders and model servers of a job."""

    store: Path
    data: Path
    work: Path
    """Folder for temporary files, checkpoints and cached baselines."""
    serving: tuple[str, ...]
    """Addresses of every model server of the default pool."""
    models: Sources = EXAMPLES
    """Where models come from."""
    store_url: str | None = None
    """The bucket that ``store`` follows, if it does."""
    named_pools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses of the model servers of other pools."""
    pool_memory: Mapping[str, int] = field(default_factory=dict)
    """Bytes that each server of a pool has for models, where it is known."""
    tls: TlsFiles | None = None
    """Files of the connections to model servers; None: they are plain."""

    def open_store(self) -> Store:
        """Connects to nothing yet."""
        return open_store(self.store, self.store_url)

    @property
    def pools(self) -> ServingPools:
        """Every pool."""
        return ServingPools.of(self.serving, self.named_pools, self.pool_memory, self.tls)

    @property
    def rehearsed(self) -> Path:
        """Folder of marks, one for each rehearsal that went well."""
        return self.work / "rehearsed"

    def checkpoints(self, job: str) -> Path:
        """Folder of the checkpoints that a job's attempts share; the trainer deletes it when the job has ended."""
        return self.work / "checkpoints" / job


class Cancelled(Exception):
    """The job is cancelled. Raised by callbacks of the job: its report, or the permission to publish."""


@dataclass(frozen=True)
class Promotion:
    """Whether the version got its role, why, and how far its served answers were from training's."""

    promoted: bool
    reason: str
    parity: float | None = None
    """Maximum absolute difference of golden answers over all servers; None if no server was compared."""
    percent: float = 100.0
    """Its share of the requests; less for a canary."""


@dataclass(frozen=True)
class Published:
    """The version is in the store; ``promotion`` says whether it answers."""

    manifest: Manifest
    promotion: Promotion
    state: Literal["published"] = "published"


def describe_published(published: Published) -> dict[str, Any]:
    """As plain values, for the ledger."""
    manifest = published.manifest
    return {
        "state": published.state,
        "version": manifest.version,
        "metrics": manifest.metrics,
        "validation": dict(manifest.training.validation) if manifest.training else {},
        "data": manifest.data.model_dump() if manifest.data else None,
        "verdict": manifest.verdict.model_dump(),
        "promotion": asdict(published.promotion),
    }


@dataclass(frozen=True)
class Rejected:
    """The gate rejected the version; nothing was published."""

    verdict: Verdict
    metrics: Mapping[str, float]
    state: Literal["rejected"] = "rejected"


@dataclass(frozen=True)
class Measured:
    """The outcome of a job that publishes nothing: loss and metrics on the validation split."""

    metrics: Mapping[str, float]
    state: Literal["measured"] = "measured"


Outcome = Published | Rejected | Measured
