"""What the autoscalers in the manifests do with a queue of jobs, and with predictions that come and go: played through.

Jobs are those of a real ledger, and their number is the metric that KEDA reads; only time, and what Kubernetes decides,
is played.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from modelyard.services.ledger import Job, JobRequest, Ledger, State
from modelyard.services.queues import CPU_QUEUE
from modelyard.services.scheduler.metrics import LedgerMetrics
from tests.support.autoscaler import SYNC_S, Keda, read_autoscaler
from tests.support.kubernetes import Resource, find, render_overlay

JOBS = 200
STARTS_S = 45
"""From a decision to a worker that takes jobs, on a node that is there."""
EPOCH_S = 30
"""A checkpoint is written this often."""
READ_EVERY = 5
"""At each of so many numbers of jobs the metric is compared with what is known of them."""
LONGEST_S = 12 * 3600.0


@dataclass
class Worker:
    """One pod of trainers."""

    ready_at: float
    name: str
    job: Job | None = None
    left_s: float = 0.0
    ends_at: float | None = None
    """When the time is over that it had after SIGTERM."""


@dataclass
class Played:
    """What happened."""

    replicas: list[int] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    requeued: int = 0
    repeated_s: float = 0.0
    took_s: float = 0.0
    finished: list[str] = field(default_factory=list)


class Trainers:
    """Workers that come and go, as a cluster decides."""

    def __init__(self, ledger: Ledger, manifest: Resource, drain_s: float, chance: random.Random) -> None:
        self.ledger, self.drain_s, self.chance = ledger, drain_s, chance
        self.keda = Keda(manifest)
        registry = CollectorRegistry()
        registry.register(LedgerMetrics(ledger))
        self.registry = registry
        self.metric, queue, _ = manifest["spec"]["triggers"][0]["metadata"]["valueLocation"].split('"')
        self.metric, self.labels = self.metric.removesuffix("{queue="), {"queue": queue}
        self.workers: list[Worker] = []
        self.waiting: list[str] = []
        self.lengths: dict[str, float] = {}
        self.begun = 0

    def submit(self, count: int) -> None:
        for _ in range(count):
            job = self.ledger.jobs.add(JobRequest(model="m"), by="a test")
            self.waiting.append(job.id)
            self.lengths[job.id] = self.chance.uniform(60, 1800)

    def play(self) -> Played:
        """Until nothing is left, neither jobs nor workers."""
        played, now, known = Played(), 0.0, -1.0
        while True:
            load = float(len(self.waiting) + sum(1 for each in self.workers if each.job))
            if load != known and load % READ_EVERY == 0:
                assert self.registry.get_sample_value(self.metric, self.labels) == load
                known = load
            live = [each for each in self.workers if each.ends_at is None]
            wanted = self.keda.decide(now, len(live), load)
            assert wanted or not load
            played.replicas.append(wanted)
            if not load and not self.workers and not wanted:
                played.took_s = now
                return played
            assert now < LONGEST_S
            self._scale(now, live, wanted)
            self._work(now, played)
            now += SYNC_S

    def _scale(self, now: float, live: list[Worker], wanted: int) -> None:
        """Kubernetes does not know who is busy: any may be told to end."""
        for _ in range(wanted - len(live)):
            self.begun += 1
            self.workers.append(Worker(now + STARTS_S, f"trainer-{self.begun}"))
        for worker in self.chance.sample(live, max(0, len(live) - wanted)):
            worker.ends_at = now + self.drain_s

    def _work(self, now: float, played: Played) -> None:
        for worker in list(self.workers):
            if worker.job:
                worker.left_s -= SYNC_S
                if worker.left_s <= 0:
                    self._finish(worker, played)
                elif worker.ends_at is not None and now >= worker.ends_at:
                    self._requeue(worker, played)
            if worker.ends_at is not None and not worker.job:
                self.workers.remove(worker)
            elif not worker.job and now >= worker.ready_at and self.waiting:
                self._claim(worker, now, played)

    def _claim(self, worker: Worker, now: float, played: Played) -> None:
        job_id = self.waiting.pop(0)
        worker.job = self.ledger.jobs.claim(job_id, worker.name, LONGEST_S)
        assert worker.job
        worker.left_s = self.lengths[job_id]
        played.waits_s.append(now)

    def _finish(self, worker: Worker, played: Played) -> None:
        assert worker.job
        assert self.ledger.jobs.begin_publishing(worker.job)
        assert self.ledger.jobs.finish(worker.job, State.SUCCEEDED, {"reason": "a test"})
        played.finished.append(worker.job.id)
        worker.job = None

    def _requeue(self, worker: Worker, played: Played) -> None:
        """As the trainer does at its end; the next attempt goes on from the last checkpoint."""
        (job,) = self.ledger.jobs.release(worker.name)
        self.waiting.insert(0, job.id)
        again_s = (self.lengths[job.id] - worker.left_s) % EPOCH_S
        self.lengths[job.id] = worker.left_s + again_s
        played.requeued += 1
        played.repeated_s += again_s
        worker.job = None


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as found:
        found.prepare()
        yield found


def read_drain_s(overlay: str) -> float:
    (trainer,) = find(render_overlay(overlay), "Deployment", "trainer")["spec"]["template"]["spec"]["containers"]
    return next(float(each["value"]) for each in trainer["env"] if each["name"] == "MODELYARD_DRAIN_S")


@pytest.mark.parametrize("drain_s", [None, 0.0], ids=["as it is", "no time at all"])
def test_a_queue_of_jobs_brings_trainers_and_takes_them_away(ledger: Ledger, drain_s: float | None) -> None:
    """From none to the most and back to none; each job ends once, whoever is taken away meanwhile."""
    manifest = find(render_overlay("gke"), "ScaledObject", "trainer")
    given_s = read_drain_s("gke") if drain_s is None else drain_s
    trainers = Trainers(ledger, manifest, given_s, random.Random(4))
    trainers.submit(JOBS if drain_s is None else 30)
    played = trainers.play()
    assert sorted(played.finished) == sorted(trainers.lengths)
    assert {job.state for job in ledger.jobs.find(limit=2 * JOBS)} == {State.SUCCEEDED}
    assert (played.replicas[0], played.replicas[-1]) == (1, 0)
    assert max(played.replicas) == manifest["spec"]["maxReplicaCount"]
    if drain_s is None:
        assert played.requeued < JOBS / 10  # most end in the time that they have
    assert played.repeated_s <= EPOCH_S * played.requeued


def test_no_job_means_no_trainer() -> None:
    """And the first job brings one at the next look."""
    keda = Keda(find(render_overlay("gke"), "ScaledObject", "trainer"))
    assert [keda.decide(now, 0, 0) for now in range(0, 900, SYNC_S)] == [0] * 60
    assert keda.decide(900, 0, 1) == 1


def test_a_running_job_keeps_its_trainer(ledger: Ledger) -> None:
    """However long it takes: what is scaled by counts jobs that run, too."""
    manifest = find(render_overlay("gke"), "ScaledObject", "trainer")
    trainers = Trainers(ledger, manifest, 0.0, random.Random(4))
    trainers.submit(1)
    (job_id,) = trainers.waiting
    trainers.lengths[job_id] = 3 * 3600
    played = trainers.play()
    assert (played.finished, played.requeued) == ([job_id], 0)
    assert max(played.replicas) == 1


@pytest.mark.parametrize("overlay", ["gpu", "gke", "eks"])
def test_trainers_are_scaled_by_the_queue_that_they_serve(overlay: str) -> None:
    """Behind a token, at the port where the scheduler shows it."""
    resources = render_overlay(overlay)
    scaled = [each for each in resources if each["kind"] == "ScaledObject"]
    queues = {"trainer": CPU_QUEUE, "trainer-gpu": "train.gpu"}
    for each in scaled:
        (trigger,) = each["spec"]["triggers"]
        assert (
            trigger["metadata"]["valueLocation"]
            == f'modelyard_queue_jobs{{queue="{queues[each["spec"]["scaleTargetRef"]["name"]]}"}}'
        )
        assert trigger["metadata"]["authMode"] == "bearer"
        assert find(resources, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert ("trainer-gpu" in {each["metadata"]["name"] for each in scaled}) is (overlay == "gpu")


@pytest.mark.parametrize(("name", "cores", "capacity"), [("gateway", 1.0, 1000.0), ("modelserver", 4.0, 3000.0)])
def test_predictions_bring_replicas_and_take_them_away(name: str, cores: float, capacity: float) -> None:
    """Twenty times the load within a minute: enough are there within three, and none flaps on the way back.

    Args:
        capacity: predictions per second of one, on all its cores.
    """
    manifest = find(render_overlay("gke"), "HorizontalPodAutoscaler", name)
    scaler = read_autoscaler(manifest)
    (cpu,) = (each["resource"]["target"] for each in manifest["spec"]["metrics"] if each["type"] == "Resource")
    replicas, seen, low, high = scaler.least, [], capacity * scaler.least * 0.5, capacity * 20
    for now in range(0, 4 * 3600, SYNC_S):
        load = low if now < 600 or now >= 7200 else min(high, low + (high - low) * (now - 600) / 60)
        used = cores * min(load / capacity, replicas)
        replicas = scaler.decide(now, replicas, {cores * cpu["averageUtilization"] / 100: used})
        seen.append(replicas)
    enough = high / capacity
    assert max(seen[: 600 // SYNC_S]) == scaler.least
    assert seen[(600 + 60 + 180) // SYNC_S] >= enough
    assert max(seen) <= 2 * enough
    back = seen[7200 // SYNC_S :]
    assert back == sorted(back, reverse=True)
    assert back[-1] == scaler.least
