"""Triggers on a real ledger and Redis: due, held back, and fired once, however many schedulers poll."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services import broker
from modelyard.services.cli.processes import redis_server
from modelyard.services.ledger import Ledger, State
from modelyard.services.ledger.feedback import CapturedPrediction
from modelyard.services.ledger.observations import Drift
from modelyard.services.ledger.triggers import StoredTrigger
from modelyard.services.scheduler.triggers import TriggerSchedule
from modelyard.services.tracing.spans import RecordedSpan, Tracing
from tests.support.processes import WAIT_S
from tests.support.programs import running_fork
from tests.support.waiting import wait_until

MODEL = "neuron"
EPOCHS = RecipeField(default=3, constraints={"type": "integer", "minimum": 1})


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[TriggerSchedule]:
    socket, url = tmp_path / "redis.sock", f"sqlite:///{tmp_path}/ledger.db"
    command = redis_server.build_command(redis_server.find_server(), socket, tmp_path)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    store = Store(tmp_path / "store")
    store.prepare()
    known = TrainableModel(
        name=MODEL, task="regression", summary="", dataset="", homepage="", recipes={"quick": {"epochs": EPOCHS}}
    )
    (store.root / FILE).write_text(Catalog(digest="", trainable={MODEL: known}).model_dump_json())
    try:
        wait_until(lambda: redis_server.is_answering(socket), WAIT_S, "redis")
        with closing(Ledger(url)) as ledger:
            yield TriggerSchedule(store, ledger, broker.make_sender(redis_server.make_broker_url(socket)))
    finally:
        server.terminate()
        server.wait(WAIT_S)


def put(watch: TriggerSchedule, **body: Any) -> StoredTrigger:
    return watch.ledger.triggers.put(MODEL, "t", body, "test")


def reasons(watch: TriggerSchedule, after: timedelta = timedelta(), at: datetime | None = None) -> list[str]:
    """Of all jobs, the newest first, after another poll: some time from now, or at a moment."""
    watch.fire_due(at or datetime.now(UTC) + after)
    return [job.by for job in watch.ledger.jobs.find()]


def end(watch: TriggerSchedule) -> None:
    """The job that runs ends."""
    for job in watch.ledger.jobs.list_queued():
        watch.ledger.jobs.cancel(job.id, "test")


def record_feedback(watch: TriggerSchedule, right: int, wrong: int) -> None:
    for index in range(right + wrong):
        number = watch.ledger.feedback.count(MODEL)
        answer = CapturedPrediction(
            f"id-{number}", 0, MODEL, 1, "x", "float32", (1,), b"%04d" % number, 1.0, None, datetime.now(UTC)
        )
        watch.ledger.feedback.capture([answer])
        watch.ledger.feedback.record_truth(answer, 1.0, right=index < right, client="test")


def test_a_schedule_is_due_at_its_times(watch: TriggerSchedule) -> None:
    """A time that was missed is made up for once."""
    kept = put(watch, cron="30 3 * * *", cooldown_s=0, job={"overrides": {"epochs": 5}, "with_feedback": True})
    assert reasons(watch, at=kept.since) == []
    (by,) = reasons(watch, at=(kept.since + timedelta(days=4)).replace(hour=3, minute=31))
    assert by.startswith("trigger neuron/t: due at ")
    (job,) = watch.ledger.jobs.find()
    (fired,) = watch.ledger.triggers.list_triggers()
    assert (job.overrides, job.with_feedback, fired.job_id) == ({"epochs": 5}, True, job.id)
    end(watch)
    assert len(reasons(watch, at=fired.fired_at)) == 1


def test_enough_new_feedback_submits_a_job(watch: TriggerSchedule) -> None:
    """New is what came since the last time."""
    put(watch, feedback=5, cooldown_s=0)
    record_feedback(watch, right=4, wrong=0)
    assert reasons(watch) == []
    record_feedback(watch, right=1, wrong=0)
    assert reasons(watch) == ["trigger neuron/t: 5 new answers with feedback"]
    end(watch)
    record_feedback(watch, right=4, wrong=0)
    assert len(reasons(watch)) == 1


def test_quality_below_a_floor_submits_a_job(watch: TriggerSchedule) -> None:
    """Over the newest answers of the stable version; too few say nothing."""
    watch.store.folder(MODEL).mkdir(exist_ok=True)
    change_rollout(watch.store, MODEL, lambda now: now.promote(1, by="t", reason="r"))
    put(watch, quality={"floor": 0.9, "of": 10})
    record_feedback(watch, right=3, wrong=6)
    assert reasons(watch) == []
    record_feedback(watch, right=0, wrong=1)
    (by,) = reasons(watch)
    assert by == "trigger neuron/t: 3 of the newest 10 answers were right, fewer than 90.0%"
    end(watch)
    record_feedback(watch, right=10, wrong=0)
    assert len(reasons(watch, timedelta(days=30))) == 1


def test_drift_submits_a_job(watch: TriggerSchedule) -> None:
    """Of the stable version; requests of an earlier one do not count."""
    watch.store.folder(MODEL).mkdir(exist_ok=True)
    change_rollout(watch.store, MODEL, lambda now: now.promote(2, by="t", reason="r"))
    put(watch, psi=0.2)
    same, now = {"answer value": {"psi": 0.1, "p_value": 0.4}}, datetime.now(UTC)
    moved = {"input number 0": {"psi": 0.31, "p_value": 0.0}, **same}
    watch.ledger.observations.put_drift(Drift(MODEL, 1, 500, moved, now))
    assert reasons(watch) == []
    watch.ledger.observations.put_drift(Drift(MODEL, 2, 500, same, now))
    assert reasons(watch) == []
    watch.ledger.observations.put_drift(Drift(MODEL, 2, 500, moved, now))
    (by,) = reasons(watch)
    assert by.endswith("input number 0 has moved: population stability index 0.310 over 500 answers")


def test_a_trigger_is_held_back_by_its_cool_down_its_week_and_its_running_job(watch: TriggerSchedule) -> None:
    """Whichever says no."""
    put(watch, feedback=1, cooldown_s=3600, per_week=2)
    record_feedback(watch, right=1, wrong=0)
    assert len(reasons(watch)) == 1
    record_feedback(watch, right=1, wrong=0)
    assert len(reasons(watch, timedelta(hours=2))) == 1, "its job still waits"
    end(watch)
    assert len(reasons(watch, timedelta(minutes=30))) == 1, "it cools down"
    assert len(reasons(watch, timedelta(hours=2))) == 2
    end(watch)
    record_feedback(watch, right=1, wrong=0)
    assert len(reasons(watch, timedelta(hours=4))) == 2, "two within a week"
    assert len(reasons(watch, timedelta(days=8))) == 3


def trace(watch: TriggerSchedule, said: list[RecordedSpan], share: float = 1.0) -> TriggerSchedule:
    return replace(watch, tracing=Tracing(share, said.append, lambda: None))


def test_many_schedulers_that_poll_at_once_submit_one_job(watch: TriggerSchedule) -> None:
    """Each firing has one key, and is one span, which its job's row has."""
    put(watch, feedback=1)
    record_feedback(watch, right=1, wrong=0)
    barrier, said = threading.Barrier(8), list[RecordedSpan]()

    def poll() -> None:
        barrier.wait()
        trace(watch, said).fire_due(datetime.now(UTC))

    threads = [threading.Thread(target=poll) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (job,) = watch.ledger.jobs.find()
    assert (job.state, watch.ledger.triggers.list_triggers()[0].job_id) == (State.QUEUED, job.id)
    (span,) = said
    assert span.attributes["modelyard.job.id"] == job.id
    assert watch.ledger.jobs.get_traceparent(job.id) == span.context.traceparent


def test_each_firing_is_a_trace_of_its_own(watch: TriggerSchedule) -> None:
    """Of the next one, and of a trigger that was set anew, too; what our share leaves out is in no row."""
    said = list[RecordedSpan]()
    for _ in range(2):
        put(watch, feedback=1, cooldown_s=0)
        record_feedback(watch, right=1, wrong=0)
        trace(watch, said).fire_due(datetime.now(UTC))
        end(watch)
    record_feedback(watch, right=1, wrong=0)
    trace(watch, said).fire_due(datetime.now(UTC))
    assert len({span.context.trace_id for span in said}) == len(said) == 3
    end(watch)
    record_feedback(watch, right=1, wrong=0)
    trace(watch, said, share=0.0).fire_due(datetime.now(UTC))
    newest, *before = watch.ledger.jobs.find()
    assert (len(said), len(before)) == (3, 3)
    assert watch.ledger.jobs.get_traceparent(newest.id) is None


def test_a_scheduler_process_fires_and_ends_on_sigterm(
    watch: TriggerSchedule, tmp_path: Path, forks: ForkServer
) -> None:
    """With exit status 0."""
    settings = {
        "MODELYARD_STORE": str(watch.store.root),
        "MODELYARD_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "MODELYARD_BROKER_URL": redis_server.make_broker_url(tmp_path / "redis.sock"),
        "MODELYARD_TRIGGER_S": "0.2",
    }
    put(watch, feedback=1)
    with running_fork(forks, tmp_path / "scheduler.log", "scheduler", **settings) as scheduler:
        record_feedback(watch, right=1, wrong=0)
        wait_until(watch.ledger.jobs.find, WAIT_S, "a job")
        assert scheduler.stop() == 0
