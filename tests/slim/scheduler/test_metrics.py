"""What the scheduler's metrics say of jobs, roles and duties."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from modelyard.models.errors import StorageFailed
from modelyard.models.registry.pools.capacity import list_loaded
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.pools import ServingPools
from modelyard.services.ledger import JobRequest, Ledger, State
from modelyard.services.scheduler.metrics import DutyMetrics, LedgerMetrics, make_registry
from modelyard.services.scheduler.scheduler import run_periodically
from tests.support.waiting import wait_until

WORKER = "host-1"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as found:
        found.migrate()
        yield found


def render(registry: CollectorRegistry) -> set[str]:
    return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}


def end(ledger: Ledger, model: str, state: State) -> None:
    job = ledger.jobs.add(JobRequest(model=model), by="a test")
    claimed = ledger.jobs.claim(job.id, WORKER)
    assert claimed
    ledger.jobs.record_progress(claimed, {"stage": "data"}, milestone=True)
    ledger.jobs.record_progress(claimed, {"stage": "train"}, milestone=True)
    if state is State.SUCCEEDED:
        assert ledger.jobs.begin_publishing(claimed)
    assert ledger.jobs.finish(claimed, state, {"reason": "a test"})


def test_each_pool_says_its_memory_and_what_it_takes(filled: Store, ledger: Ledger) -> None:
    """So that an alarm can come before a version is refused; a pool without models takes nothing."""
    pools = ServingPools.of((), {"gpu": ("b:1",)}, {"gpu": 1 << 30})
    lines = (line.rpartition(" ") for line in render(make_registry(filled, ledger, pools)))
    found = {name: float(value) for name, _, value in lines if name.startswith("modelyard_pool_")}
    taken = sum(each.memory for each in list_loaded(filled, "default")) << 20
    assert taken > 0
    assert found == {
        'modelyard_pool_taken_bytes{pool="default"}': taken,
        'modelyard_pool_taken_bytes{pool="gpu"}': 0,
        'modelyard_pool_memory_bytes{pool="gpu"}': 1 << 30,
    }


def test_jobs_are_counted_by_how_they_ended(ledger: Ledger, tmp_path: Path) -> None:
    """Those that wait and run, the oldest one's wait, and the stages of each model's newest success."""
    for model, state in (("a", State.SUCCEEDED), ("a", State.FAILED), ("a", State.FAILED), ("b", State.REJECTED)):
        end(ledger, model, state)
    for _ in range(3):
        waiting = ledger.jobs.add(JobRequest(model="b"), by="a test")
    ledger.jobs.claim(waiting.id, WORKER)
    found = render(make_registry(Store(tmp_path / "store"), ledger))
    assert {
        "modelyard_ledger_read 1.0",
        'modelyard_jobs{state="queued"} 2.0',
        'modelyard_jobs{state="running"} 1.0',
        'modelyard_jobs{state="publishing"} 0.0',
        'modelyard_queue_jobs{queue="train.cpu"} 3.0',
        'modelyard_queue_jobs{queue="train.gpu"} 0.0',
        'modelyard_jobs_ended_total{model="a",state="succeeded"} 1.0',
        'modelyard_jobs_ended_total{model="a",state="failed"} 2.0',
        'modelyard_jobs_ended_total{model="b",state="rejected"} 1.0',
        'modelyard_jobs_ended_total{model="b",state="failed"} 0.0',
        "modelyard_jobs_lost_total 0.0",
    } <= found
    stages = {line.split("} ")[0] for line in found if line.startswith("modelyard_job_stage_seconds")}
    assert stages == {
        'modelyard_job_stage_seconds{model="a",stage="data"',
        'modelyard_job_stage_seconds{model="a",stage="train"',
    }
    (wait,) = (float(line.split()[1]) for line in found if line.startswith("modelyard_oldest_queued_job_seconds"))
    assert wait > 0


def test_nothing_waits_in_an_empty_ledger(ledger: Ledger) -> None:
    """Zeros, not gaps: a rule can tell that from a metric that is missing."""
    registry = CollectorRegistry()
    registry.register(LedgerMetrics(ledger))
    found = render(registry)
    assert {"modelyard_oldest_queued_job_seconds 0.0", 'modelyard_jobs{state="queued"} 0.0'} <= found


def test_a_ledger_that_is_away_is_said(tmp_path: Path) -> None:
    """The other metrics are there all the same."""
    (tmp_path / "ledger.db").mkdir()
    with closing(Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")) as broken:
        found = render(make_registry(Store(tmp_path), broken))
    assert "modelyard_ledger_read 0.0" in found
    assert any(line.startswith('modelyard_disk_free_bytes{folder="store"}') for line in found)
    assert not any(line.startswith("modelyard_jobs{") for line in found)


def test_a_ledger_that_does_not_answer_holds_the_metrics_up_for_a_moment_only(tmp_path: Path) -> None:
    """Prometheus would take the scheduler for dead; once the ledger answers again, so do they."""
    path, registry = tmp_path / "ledger.db", CollectorRegistry()
    with closing(Ledger(f"sqlite:///{path}")) as made:
        made.migrate()
    with closing(Ledger(f"sqlite:///{path}")) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("CREATE TABLE held (value)")
        registry.register(LedgerMetrics(ledger, read_s=0.05))
        for _ in range(3):  # while the first look waits
            assert render(registry) == {"modelyard_ledger_read 0.0"}
        holder.close()
        wait_until(lambda: "modelyard_ledger_read 1.0" in render(registry), what="the ledger")


def test_a_duty_that_fails_is_counted_and_was_not_done() -> None:
    """The others are, and their time is."""
    registry, ended = CollectorRegistry(), threading.Event()
    done = []

    def fail() -> None:
        raise StorageFailed("no disk")

    def do() -> None:
        done.append(1)
        if len(done) == 3:
            ended.set()

    metrics = DutyMetrics(registry, ("broken", "whole"))
    assert 'modelyard_scheduler_duty_failures_total{duty="whole"} 0.0' in render(registry)
    run_periodically(ended, metrics.note, (0.0, "broken", fail), (0.0, "whole", do))
    found = render(registry)
    assert 'modelyard_scheduler_duty_failures_total{duty="broken"} 3.0' in found
    assert 'modelyard_scheduler_duty_seconds_count{duty="whole"} 3.0' in found
    times = [line for line in found if line.startswith("modelyard_scheduler_duty_done_timestamp_seconds")]
    assert [line.partition("}")[0] for line in times] == [
        'modelyard_scheduler_duty_done_timestamp_seconds{duty="whole"'
    ]
