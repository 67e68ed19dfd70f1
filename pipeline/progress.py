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
    """Until training has ended; in a job's progress, until the job has ended. None while nothing can be said."""
    eta_at_most: bool = False
    """Whether training may end earlier, as its recipe has a ``patience``."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    """At the end of an epoch."""


Report = Callable[[Progress], None]

UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def format_duration(seconds: float) -> str:
    """The two largest units: "2 h 15 min"."""
    rest, parts = max(0, round(seconds)), []
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def format_left(seconds: float, *, at_most: bool = False) -> str:
    """A time that is left: "2 h 15 min left", "at most 40 s left"."""
    return f"{'at most ' if at_most else ''}{format_duration(seconds)} left"
