"""What one job is asked for, where it works, and how it ends. Slim: no Keras, no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.models.errors import InvalidRecipe
from modelyard.models.registry.manifest import Manifest, Verdict

Policy = Literal["auto", "require-real", "sample"]
"""Which data: the real files or else the sample; the real files or nothing; the sample."""
Target = Literal["stable", "canary", "manual", "none"]
"""What becomes of a published version: it answers as soon as it may; a share of the requests, until it is judged; a
person decides. ``none``: nothing is published, and the test split is not looked at."""


@dataclass(frozen=True)
class Run:
    """What to do."""

    model: str
    recipe: str
    overrides: Mapping[str, Any]
    data: Policy
    rollout: Target
    by: str
    """Who or what asked, for the decision record."""
    job: str | None = None
    """Its id, if it came through a queue. An id is published once, however often it is started."""
    name: str = "job"
    """Of its temporary folders."""
    feedback: Path | None = None
    """A file of feedback to train on, too (``pipeline/stages/feedback.py``)."""


@dataclass(frozen=True)
class Place:
    """Where to do it."""

    store: Path
    data: Path
    work: Path
    """For temporary files and checkpoints; results of baselines are remembered here too."""
    serving: tuple[str, ...]
    """Addresses of every model server."""

    def checkpoints(self, job: str) -> Path:
        """What a job's attempts leave for each other; whoever runs it clears it when it has ended."""
        return self.work / "checkpoints" / job


class Cancelled(Exception):
    """Nobody wants this job any more. Raised by who was told so, where the job reports or asks to publish."""


@dataclass(frozen=True)
class Promotion:
    """Whether the version answers now, why, and how far its served answers were from training's."""

    promoted: bool
    reason: str
    parity: float | None = None
    """Largest absolute difference of golden answers over all servers; None if no server was asked."""
    percent: float = 100.0
    """Its share of the requests; less for a canary."""


@dataclass(frozen=True)
class Published:
    """The version went into the store; ``promotion`` says whether it answers."""

    manifest: Manifest
    promotion: Promotion
    state: Literal["published"] = "published"


@dataclass(frozen=True)
class Rejected:
    """The gate said no; nothing was published."""

    verdict: Verdict
    metrics: Mapping[str, float]
    state: Literal["rejected"] = "rejected"


@dataclass(frozen=True)
class Measured:
    """It was only to be seen how good it gets: loss and metrics on the validation split."""

    metrics: Mapping[str, float]
    state: Literal["measured"] = "measured"


Outcome = Published | Rejected | Measured

REJECTED_EXIT = 3
"""Exit status of a command whose job was rejected."""


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """``["epochs=3"]`` -> ``{"epochs": "3"}``.

    Raises:
        InvalidRecipe: an entry without ``=``.
    """
    for pair in pairs:
        if "=" not in pair:
            raise InvalidRecipe(f"--set expects key=value, received {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)
