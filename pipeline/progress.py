"""Progress reports of a running job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["import", "data", "rehearse", "train", "export", "evaluate", "gate", "publish", "rollout"]


@dataclass(frozen=True)
class Progress:
    """One progress report. Times are in seconds; ``metrics`` are Keras's values for the epoch so far."""

    stage: Stage
    message: str = ""
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    """At the end of an epoch."""


Report = Callable[[Progress], None]
