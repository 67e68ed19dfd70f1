"""A job's stages and how long they took, and with them how long it still takes."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelyard.services.ledger import Event, Job, Ledger, State

STAGES = ("data", "rehearse", "train", "export", "evaluate", "gate", "publish", "rollout")
"""In the order of a job."""
AFTER_TRAINING = STAGES[STAGES.index("export") :]
EARLIER_JOBS = 3
"""Of the same model, whose stages are averaged."""


@dataclass(frozen=True)
class StageTime:
    """One stage of one attempt."""

    stage: str
    attempt: int
    started_at: datetime
    finished_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """None while it goes on."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


def list_stages(events: Sequence[Event]) -> tuple[StageTime, ...]:
    """Stages in the order in which they began, from a job's events; each attempt has its own."""
    found: list[StageTime] = []
    for attempt, stage, at in _list_changes(events):
        if stage == "rehearse" and found and found[-1].stage == "train" and found[-1].finished_at is None:
            found[-1] = StageTime(stage, attempt, found[-1].started_at, None)  # training prepares, and rehearses first
            continue
        if found and found[-1].finished_at is None:
            found[-1] = StageTime(found[-1].stage, found[-1].attempt, found[-1].started_at, at)
        if stage:
            found.append(StageTime(stage, attempt, at, None))
    return tuple(found)


def _list_changes(events: Sequence[Event]) -> Iterator[tuple[int, str, datetime]]:
    """Attempt, stage and moment of each change; an empty stage where none goes on."""
    attempt, stage = 0, ""
    for event in events:
        if event.kind == "state" and ("worker" in event.body or event.body.get("state") != State.PUBLISHING):
            attempt += "worker" in event.body or event.body.get("state") == State.RUNNING
            stage = ""
            yield attempt, stage, event.at
        elif event.kind == "progress" and event.body.get("stage") not in (None, stage):
            stage = event.body["stage"]
            yield max(1, attempt), stage, event.at


def measure_earlier(ledger: Ledger, job: Job) -> dict[str, float]:
    """Seconds that stages after training took of earlier jobs of this model, on average; empty if there are none."""
    earlier = ledger.jobs.find(model=job.model, states=[State.SUCCEEDED], limit=EARLIER_JOBS)
    seconds: dict[str, list[float]] = {}
    for each in earlier:
        if each.rollout == "none":
            continue
        for stage in list_stages(ledger.jobs.list_events(each.id, kinds=("state", "progress"))):
            if stage.stage in AFTER_TRAINING and stage.seconds is not None:
                seconds.setdefault(stage.stage, []).append(stage.seconds)
    return {stage: sum(each) / len(each) for stage, each in seconds.items()}


class JobEstimate:
    """What is left of one attempt: its training by its own steps, what comes after by earlier jobs."""

    def __init__(self, job: Job, earlier: Mapping[str, float], now: Callable[[], float] = time.monotonic) -> None:
        """``earlier``: seconds by stage, as ``measure_earlier`` gives them."""
        self._earlier = {} if job.rollout == "none" else dict(earlier)
        self._spent_s, self._now = job.spent_s, now
        self._began = self._stage_began = now()
        self._stage = ""

    def complete(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        """The progress with ``eta_s`` until the job has ended, and the ``share`` of its time that has gone.

        With neither while nothing can be said.
        """
        if progress.get("stage") != self._stage:
            self._stage, self._stage_began = str(progress.get("stage")), self._now()
        eta_s = self._estimate(progress)
        rest = {name: value for name, value in progress.items() if name != "eta_s"}
        if eta_s is None:
            return rest
        gone_s = self._spent_s + self._now() - self._began
        share = gone_s / (gone_s + eta_s) if gone_s + eta_s else 1.0
        return rest | {"eta_s": round(eta_s, 1), "share": round(share, 4)}

    def _estimate(self, progress: Mapping[str, Any]) -> float | None:
        if self._stage == "train":
            training_s = progress.get("eta_s")
            return None if training_s is None else training_s + self._sum(AFTER_TRAINING)
        if self._stage not in AFTER_TRAINING or not self._earlier:
            return None
        here_s = self._earlier.get(self._stage, 0.0) - (self._now() - self._stage_began)
        return max(0.0, here_s) + self._sum(AFTER_TRAINING[AFTER_TRAINING.index(self._stage) + 1 :])

    def _sum(self, stages: Sequence[str]) -> float:
        return sum(self._earlier.get(stage, 0.0) for stage in stages)
