"""A whole system among faults: ``python -m benchmarks.chaos [--minutes 10 --seed 1 --write]``.

Redis, model server, gateway and two trainers, each in processes of its own, in a temporary folder. Numbers are asked of
the model ``neuron`` all the time, and every answer is compared with ``w x + b`` of the version in its
``X-Model-Version``; training jobs are submitted all the time. Meanwhile processes are killed, told to stop or made to
stand still, and the disk is full for seconds (where a file system may be mounted), in an order and at moments that
follow from the seed. Then nothing is broken any more, and all jobs that were accepted must end. Prints a table, and
appends one JSON line to ``benchmarks/results/chaos.jsonl``. Exit status 1 if a job was lost, published twice or
published and denied, a roll-back was refused, or an answer was wrong, missing, or an error that none of the promises
allows.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.chaos.page import BAD, render_table
from benchmarks.faults import CHILD, HALTED, QUEUE, SERVER, TOLD, WORKER, Fault, Faults
from benchmarks.generator import Generator
from benchmarks.linear_oracle import MODEL, Predictions
from benchmarks.page import replace_section
from benchmarks.serving.machine import machine
from benchmarks.serving.tally import percentile
from benchmarks.small_disk import small_disk
from benchmarks.submissions import Submissions
from benchmarks.whole import Whole, whole
from modelyard.models.errors import CorruptData
from modelyard.services.ledger import FINAL, Event, Ledger, State

RESULTS = Path(__file__).parents[1] / "results" / "chaos.jsonl"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
TRAINERS = 2
CONNECTIONS = 64
POLL_INTERVAL_S = 1.0
POSSIBLE = (200, 409)
"""Statuses of a roll-back: done, or there is no version to go back to."""


@dataclass(frozen=True)
class Seen:
    """What happened in one run."""

    predictions: Predictions
    generator: Generator
    submissions: Submissions
    faults: Faults
    began: float
    ended: float


def run(system: Whole, options: argparse.Namespace, *, can_fill_disk: bool) -> Seen:
    """Faults for so many minutes, then the rest of the jobs in peace."""
    predictions = Predictions(system.local.port, system.local.store.root, random.Random(options.seed))
    generator = Generator(system.local.port, CONNECTIONS, predictions.next, predictions.judge)
    submissions, faults = Submissions(system), Faults(system, options.seed, can_fill_disk=can_fill_disk)
    began = time.perf_counter()
    with run_predictions(generator, options.rate):
        submissions.start()
        faults.start()
        time.sleep(60 * options.minutes)
        faults.stop()
        submissions.stop()
        wait(lambda: not submissions.open(), options.timeout)
    return Seen(predictions, generator, submissions, faults, began, time.perf_counter())


@contextmanager
def run_predictions(generator: Generator, rate: float) -> Iterator[None]:
    """Predictions in a thread of their own, until the end of the block."""
    over = threading.Event()
    thread = threading.Thread(target=generator.run, args=(over.is_set, rate), name="predictions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def wait(done: Callable[[], bool], timeout_s: float) -> None:
    give_up = time.monotonic() + timeout_s
    while not done() and time.monotonic() < give_up:
        time.sleep(POLL_INTERVAL_S)


# --- what came of it --------------------------------------------------------------------------------------------------


def summarize_run(system: Whole, seen: Seen) -> dict[str, Any]:
    return {
        "seconds": round(seen.ended - seen.began),
        "faults": dict(Counter(fault.kind for fault in seen.faults.done)),
        **count_jobs(system, seen.submissions),
        **count_responses(seen),
        "times_s": measure_times(system, seen),
        "rollbacks_on_a_full_disk": dict(Counter(map(str, seen.faults.rollbacks))),
        "rollbacks_failed": sum(status not in POSSIBLE for status in seen.faults.rollbacks),
        "not_done": seen.faults.trouble,
    }


def count_jobs(system: Whole, submissions: Submissions) -> dict[str, Any]:
    ledger, accepted = system.ledger, [system.ledger.jobs.get(job) for job in submissions.accepted]
    published, damaged = find_versions_by_job(system)
    succeeded = {job.id for job in accepted if job.state is State.SUCCEEDED}
    others = [job for job in ledger.jobs.find(limit=100_000) if job.id not in submissions.accepted]
    return {
        "jobs_accepted": len(accepted),
        "jobs_by_state": dict(Counter(str(job.state) for job in accepted)),
        "jobs_failed_because": dict(Counter(job.result["reason"] for job in accepted if job.state is State.FAILED)),
        "attempts": dict(Counter(job.attempts for job in accepted)),
        "jobs_lost": sum(job.state not in FINAL for job in accepted),
        "jobs_published_twice": sum(count > 1 for count in published.values()),
        "jobs_published_but_not_succeeded": len((published.keys() & set(submissions.accepted)) - succeeded),
        "jobs_succeeded_without_version": len(succeeded - published.keys()),
        "jobs_run_though_refused": sum(job.attempts > 0 for job in others) - 1,  # the first version's
        "submissions_refused": submissions.refused,
        "submissions_other": sum(submissions.other.values()),
        "submissions_other_texts": dict(submissions.other.most_common(3)),
        "versions": sum(published.values()),
        "versions_damaged": damaged,
    }


def find_versions_by_job(system: Whole) -> tuple[Counter[str], int]:
    """How many versions name each job, and how many are not what their manifest says."""
    store, published, damaged = system.local.store, Counter[str](), 0
    for number in store.versions(MODEL):
        try:
            published[str(store.verify(MODEL, number).job)] += 1
        except CorruptData:
            damaged += 1
    return published, damaged


def count_responses(seen: Seen) -> dict[str, Any]:
    predictions, lost = seen.predictions, Counter(seen.generator.failures)
    return {
        "asked": predictions.asked,
        "right": len(predictions.right),
        "versions_answered": len(predictions.versions),
        "wrong": sum(predictions.wrong.values()),
        "wrong_texts": dict(predictions.wrong.most_common(3)),
        "refused_503": predictions.refused,
        "late_504": predictions.late,
        "other_answers": sum(predictions.other.values()),
        "other_texts": dict(predictions.other.most_common(3)),
        "without_answer": sum(lost.values()),
        "without_answer_texts": dict(lost.most_common(3)),
        "not_connected": seen.generator.unconnected,
    }


# --- times ------------------------------------------------------------------------------------------------------------


def measure_times(system: Whole, seen: Seen) -> dict[str, Any]:
    """From each fault to the end of its effect, in s: how many there were, the median and the longest."""
    started = {
        kind: [time_restart(system.ledger, fault) for fault in seen.faults.done if fault.kind == kind]
        for kind in (CHILD, WORKER, TOLD, HALTED)
    }
    lost = [fault for fault in seen.faults.done if fault.kind == WORKER and fault.job]
    killed = [fault for fault in seen.faults.done if fault.kind == QUEUE]
    servers = [fault for fault in seen.faults.done if fault.kind == SERVER]
    return {
        "training process killed -> its job was started again": summarize_s(start for start, _ in started[CHILD]),
        "training process killed -> it trains again": summarize_s(train for _, train in started[CHILD]),
        "worker killed -> its job waits for who is free": summarize_s(time_resend(system, fault) for fault in lost),
        "worker killed -> its job was taken over": summarize_s(start for start, _ in started[WORKER]),
        "worker told to stop -> its job was taken over": summarize_s(start for start, _ in started[TOLD]),
        "worker stood still -> its job was taken over, or went on": summarize_s(start for start, _ in started[HALTED]),
        "Redis killed -> both workers are connected again": summarize_s(
            time_reconnection(system, fault) for fault in killed
        ),
        "Redis killed -> a worker took the next job": summarize_s(time_first_job(system, fault) for fault in killed),
        "model server killed -> a right answer again": summarize_s(time_recovery(seen, fault) for fault in servers),
    }


def time_restart(ledger: Ledger, fault: Fault) -> tuple[float | None, float | None]:
    """When the fault's job was started next, and trained next; None if it was not, or no job was there."""
    after = [event for event in ledger.jobs.list_events(fault.job) if event.at > fault.at] if fault.job else []
    start = next((event for event in after if event.body.get("state") == State.RUNNING), None)
    later = after[after.index(start) :] if start else []
    train = next((event for event in later if event.body.get("stage") == "train"), None)
    return seconds_between(fault, start), seconds_between(fault, train)


def time_resend(system: Whole, fault: Fault) -> float | None:
    """When some worker saw that the lease of the fault's job had run out."""
    lines = [line for trainer in system.trainers for line in system.log(trainer) if line.at > fault.at]
    moments = [line.at for line in lines if line.event == "lost jobs resent" and fault.job in line.jobs]
    return after_s(fault, min(moments)) if moments else None


def seconds_between(fault: Fault, event: Event | None) -> float | None:
    return (event.at - fault.at).total_seconds() if event else None


def time_reconnection(system: Whole, fault: Fault) -> float | None:
    """Until the last of the trainers had logged it."""
    moments = [find_first_line(system, trainer, fault, "Connected to") for trainer in system.trainers]
    return None if None in moments else max(after_s(fault, moment) for moment in moments if moment)


def time_first_job(system: Whole, fault: Fault) -> float | None:
    moments = [find_first_line(system, trainer, fault, "job started") for trainer in system.trainers]
    return min((after_s(fault, moment) for moment in moments if moment), default=None)


def find_first_line(system: Whole, trainer: str, fault: Fault, event: str) -> datetime | None:
    """Time of the first such log line after the fault."""
    lines = system.log(trainer)
    return next((line.at for line in lines if line.at > fault.at and line.event.startswith(event)), None)


def after_s(fault: Fault, moment: datetime) -> float:
    return (moment - fault.at).total_seconds()


def time_recovery(seen: Seen, fault: Fault) -> float | None:
    """To the first right response after a second without any; 0 if there was no such second."""
    after = [due - fault.clock for due in seen.predictions.right if due > fault.clock]
    gaps = zip([0.0, *after], after, strict=False)
    return next((later for earlier, later in gaps if earlier < POLL_INTERVAL_S < later - earlier), 0.0)


def summarize_s(values: Iterable[float | None]) -> dict[str, Any]:
    ordered = sorted(value for value in values if value is not None)
    if not ordered:
        return {"count": 0}
    middle = percentile(ordered, 0.5) or 0.0
    return {"count": len(ordered), "p50": round(middle, 1), "max": round(ordered[-1], 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long there are faults")
    parser.add_argument("--seed", type=int, default=1, help="what happens when")
    parser.add_argument("--rate", type=float, default=50, help="predictions per second")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for the remaining jobs to end")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args(arguments)
    measured_on = machine()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        can_fill_disk = stack.enter_context(small_disk(home))
        system = stack.enter_context(whole(home, MODEL, TRAINERS, say=print))
        result = summarize_run(system, run(system, options, can_fill_disk=can_fill_disk))
    with RESULTS.open("a") as results:
        results.write(json.dumps({"machine": measured_on, "options": vars(options), **result}) + "\n")
    text = render_table(result, options)
    print(text)
    if options.write:
        replace_section(PAGE, "chaos", text)
    bad = {name: result[name] for name in BAD if result[name]}
    print(f"broken promises: {bad}" if bad else "all promises were kept")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
