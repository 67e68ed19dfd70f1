"""Estimates of when jobs start and end: from how long earlier ones took, by playing the queue through.

Nothing is invented: without an earlier job of the same model and recipe there is no estimate.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

from modelyard.services.ledger import Job, Priority, Training, Worker
from modelyard.services.queues import choose_queue, find_missing_worker, list_served

LENGTH_KEYS = ("epochs", "min_steps", "examples")
"""Recipe keys that say how long a training is, more than others do."""
RANKS: Mapping[str, int] = {Priority.HIGH: 1, Priority.NORMAL: 2, Priority.LOW: 3}
FIRST_STEPS = 10
"""Until as many steps are done, a training's own estimate is not worth anything: the first ones compile."""
MOST = 9
"""Of the jobs that an estimate is made from: the newest say more about the machine as it is now."""


class Estimate(NamedTuple):
    """How long a job takes."""

    seconds: float
    """Median."""
    jobs: int
    """Number of earlier jobs that it was made from."""
    same_length: bool
    """Whether those had the same values for how long to train."""


class Durations:
    """How long earlier jobs took."""

    def __init__(self, trainings: Iterable[Training]) -> None:
        """``trainings``: the newest first."""
        self._exact: dict[tuple[Any, ...], list[float]] = {}
        self._any: dict[tuple[Any, ...], list[float]] = {}
        for each in trainings:
            self._exact.setdefault(length_key(each), []).append(each.took_s)
            self._any.setdefault((each.model, each.recipe), []).append(each.took_s)

    def estimate(self, job: Job) -> Estimate | None:
        """From jobs of the same model and recipe, of the same length if there are such; None without any."""
        exact = self._exact.get(length_key(job))
        found = exact or self._any.get((job.model, job.recipe))
        return Estimate(median(found[:MOST]), len(found[:MOST]), bool(exact)) if found else None


def length_key(of: Job | Training) -> tuple[Any, ...]:
    """Model, recipe, and the overridden values that say how long a training is; a number's text is the number."""
    return (of.model, of.recipe, *(str(of.overrides.get(key)) for key in LENGTH_KEYS))


@dataclass
class Forecast:
    """When each job starts and ends, in seconds from now; a job that is missing has none."""

    starts_s: dict[str, float] = field(default_factory=dict)
    ends_s: dict[str, float] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    """Why there is no end of them all; empty if there is."""

    @property
    def empty_s(self) -> float | None:
        """Seconds until all have ended."""
        return None if self.unknown else max(self.ends_s.values(), default=0.0)


def sort_waiting(jobs: Iterable[Job]) -> list[Job]:
    """In the order in which workers take them: what was started before, then by priority, then the oldest."""
    return sorted(jobs, key=lambda job: (0 if job.attempts else RANKS.get(job.priority, 2), job.created_at, job.id))


def estimate_rest(job: Job, durations: Durations, now: datetime) -> float | None:
    """Seconds that a running job still takes: by its own count while it trains, and by earlier jobs of its length.

    What comes after the training is in those only, so the larger one counts.
    """
    own, earlier = read_own_estimate(job), durations.estimate(job)
    if earlier is None or (own is not None and not earlier.same_length):
        return own
    left = earlier.seconds - (now - (job.started_at or now)).total_seconds()
    return max(0.0, left, own or 0.0)


def read_own_estimate(job: Job) -> float | None:
    """Seconds that its training still takes, as it says itself; None before, after, and in its first steps."""
    said = job.progress
    done = ((said.get("epoch") or 1) - 1) * (said.get("steps") or 0) + (said.get("step") or 0)
    left: float | None = said.get("eta_s")
    return left if done >= FIRST_STEPS else None


def measure_progress(job: Job) -> float | None:
    """Share of the training's steps that are done; None outside of the training."""
    said = job.progress
    total: int = (said.get("epochs") or 0) * (said.get("steps") or 0)
    if said.get("stage") != "train" or not total:
        return None
    done: int = ((said.get("epoch") or 1) - 1) * said["steps"] + (said.get("step") or 0)
    return min(1.0, done / total)


def forecast(
    running: Sequence[Job], waiting: Sequence[Job], workers: Sequence[Worker], durations: Durations, now: datetime
) -> Forecast:
    """Plays the queue through: each worker takes the first job that waits in one of its queues when it is free.

    Args:
        running: jobs of live workers.
        waiting: the others, in the order in which they are taken.
    """
    found = Forecast()
    free = {worker.name: [0.0] * worker.slots for worker in workers}
    for job in running:
        rest = estimate_rest(job, durations, now)
        if rest is None:
            found.unknown.append(explain_unknown(job))
        else:
            found.ends_s[job.id] = rest
        if job.worker in free and 0.0 in free[job.worker]:
            free[job.worker].remove(0.0)
            heapq.heappush(free[job.worker], float("inf") if rest is None else rest)
    for slots in free.values():
        heapq.heapify(slots)
    _place(found, waiting, workers, durations, free)
    found.unknown = list(dict.fromkeys(found.unknown))
    return found


def _place(
    found: Forecast,
    waiting: Sequence[Job],
    workers: Sequence[Worker],
    durations: Durations,
    free: dict[str, list[float]],
) -> None:
    served = list_served({worker.name: worker.queues for worker in workers})
    for job in waiting:
        queue, takes = choose_queue(job.devices, served), durations.estimate(job)
        able = [worker.name for worker in workers if queue in worker.queues]
        if not able:
            found.unknown.append(f"{job.id} waits: {find_missing_worker(job.devices, served)}")
            continue
        first = min(able, key=lambda name: free[name][0])
        start = free[first][0]
        end = start + takes.seconds if takes else float("inf")
        heapq.heapreplace(free[first], end)
        if start < float("inf"):
            found.starts_s[job.id] = start
        if end < float("inf"):
            found.ends_s[job.id] = end
        if takes is None:
            found.unknown.append(explain_unknown(job))


def explain_unknown(job: Job) -> str:
    """Why nobody can say how long a job takes."""
    return f"no job of {job.model} with recipe {job.recipe} has gone through yet, so nobody knows how long one takes"
