"""Which flags of a model server are chosen, from what was measured of each candidate. Nothing is measured here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Self

from modelyard.services.gateway.settings import GatewaySettings

MAX_INSTANCES: int = GatewaySettings.model_fields["max_instances"].default
"""Rows of the largest call of a gateway: a model server refuses one with more than its largest batch."""
NOISE = 0.1
"""Candidates this close to the best are taken for equal, and the plainest of them is chosen: on a machine that does
other things, too, the same flags measured twice are 6 % apart."""
REST_THREADS = 2
"""Of TensorFlow Serving's own REST port, which answers health checks and shows metrics, and nothing else."""
ENQUEUED_BATCHES = 64


@dataclass(frozen=True)
class ServingFlags:
    """What a model server is started with. The defaults are the plainest for one CPU."""

    batch_threads: int = 1
    """Runs side by side."""
    max_batch_size: int = MAX_INSTANCES
    """Rows of one run."""
    timeout_us: int = 0
    """Maximum time that a call waits for others to be joined with."""
    intra_op: int = 1
    """Threads within one operation."""
    inter_op: int = 0
    """Operations of one call side by side; 0: the flag is not given."""

    def for_cpus(self, measured: int, wanted: int) -> Self:
        """The same for another number of CPUs: as many batch threads for each, at least one."""
        return replace(self, batch_threads=max(1, round(self.batch_threads * wanted / measured)))

    def describe(self) -> str:
        """In one line."""
        threads = "1 thread" if self.batch_threads == 1 else f"{self.batch_threads} threads"
        return (
            f"{threads}, {self.max_batch_size} rows, {self.timeout_us} us, intra-op {self.intra_op}, "
            f"inter-op {self.inter_op or 'not given'}"
        )


@dataclass(frozen=True)
class Load:
    """Calls of one kind to one model."""

    model: str
    rows: int
    """Of each call: one, or several that a gateway has joined."""
    calls: int
    """In flight at once."""


@dataclass(frozen=True)
class Measured:
    """What one load came to."""

    load: Load
    rows_per_s: float
    p99_ms: float


@dataclass(frozen=True)
class Candidate:
    """Flags, and what was measured of a model server that had them; each candidate has the same loads, in order."""

    flags: ServingFlags
    results: tuple[Measured, ...]


def list_threads(cpus: int) -> list[ServingFlags]:
    """The first candidates, the plainest first.

    Batch threads: one for each CPU, one, or two for each. Threads within an operation: one, or one for each CPU.
    """
    return [
        ServingFlags(batch_threads=threads, intra_op=intra)
        for intra in sorted({1, cpus})
        for threads in dict.fromkeys((cpus, 1, 2 * cpus))
    ]


def list_variations(best: ServingFlags, cpus: int) -> list[ServingFlags]:
    """What is tried of the other flags, one at a time, beside the best of the first candidates."""
    return [
        best,
        replace(best, timeout_us=1000),
        replace(best, max_batch_size=4 * MAX_INSTANCES),
        *([replace(best, inter_op=cpus)] if cpus > 1 else []),
    ]


def choose(candidates: Sequence[Candidate], target_ms: float) -> Candidate:
    """The plainest of those that answer the most rows, among those that keep the bound wherever one of them does.

    Rows a second are compared load by load with the best candidate's; their geometric mean decides, so that a quick
    model counts as much as a slow one.

    Args:
        candidates: the plainest first.
        target_ms: bound of the 99th percentile of each load; a load where none keeps it binds nobody.
    """
    broken = [sum(found.p99_ms > target_ms for found in _bound(each, candidates, target_ms)) for each in candidates]
    fitting = [each for each, count in zip(candidates, broken, strict=True) if count == min(broken)]
    scores = [score(each, candidates) for each in fitting]
    return next(each for each, own in zip(fitting, scores, strict=True) if own >= (1 - NOISE) * max(scores))


def score(candidate: Candidate, candidates: Sequence[Candidate]) -> float:
    """Geometric mean, over the loads, of its rows a second as a share of the best candidate's; at most 1."""
    best = [max(each.rows_per_s for each in same) for same in zip(*(c.results for c in candidates), strict=True)]
    shares = [found.rows_per_s / most for found, most in zip(candidate.results, best, strict=True)]
    return float(prod(shares) ** (1 / len(shares)))


def _bound(candidate: Candidate, candidates: Sequence[Candidate], target_ms: float) -> list[Measured]:
    """The results of loads whose bound some candidate keeps."""
    columns = zip(*(each.results for each in candidates), strict=True)
    kept = [any(each.p99_ms <= target_ms for each in column) for column in columns]
    return [found for found, is_kept in zip(candidate.results, kept, strict=True) if is_kept]
