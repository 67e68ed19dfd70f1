"""Metrics of the scheduler, and of what it sees of the whole system: jobs, roles of versions, disks."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, Summary
from prometheus_client import Counter as CounterMetric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelyard.models.errors import CorruptData, StorageFailed
from modelyard.models.registry.pools.capacity import list_loaded
from modelyard.models.registry.pools.size import MB
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.pools import ServingPools
from modelyard.services.job_stages import list_stages
from modelyard.services.ledger import OPEN, Ledger
from modelyard.services.metrics.disks import Disks
from modelyard.services.queues import CPU_QUEUE, GPU_QUEUE, choose_queue

READ_S = 4.0
"""How long the metrics wait for the ledger: Prometheus gives up after ten seconds, and would take us for dead."""
ONE_POOL = ServingPools.of(())
Family = CounterMetricFamily | GaugeMetricFamily


class DutyMetrics:
    """How the scheduler's duties go."""

    def __init__(self, registry: CollectorRegistry, duties: Iterable[str] = ()) -> None:
        """``duties``: counted from 0; what appears with its first failures has not grown, for Prometheus."""
        self.seconds = Summary(
            "modelyard_scheduler_duty_seconds", "Time that a duty took.", ("duty",), registry=registry
        )
        self.failures = CounterMetric(
            "modelyard_scheduler_duty_failures",
            "Duties that could not be done; each is tried again at its next time.",
            ("duty",),
            registry=registry,
        )
        self.done = Gauge(
            "modelyard_scheduler_duty_done_timestamp_seconds",
            "When a duty was last done, in seconds since 1970.",
            ("duty",),
            registry=registry,
        )

        for duty in duties:
            self.failures.labels(duty)

    def note(self, duty: str, took_s: float, *, failed: bool) -> None:
        """Counts one time."""
        self.seconds.labels(duty).observe(took_s)
        if failed:
            self.failures.labels(duty).inc()
        else:
            self.done.labels(duty).set(time.time())


class NotificationMetrics:
    """How telling people goes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.posts = CounterMetric(
            "modelyard_scheduler_notifications",
            "Posts to the receiver of notifications: sent, failed (it is tried again), or given up.",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("sent", "failed", "given up"):
            self.posts.labels(outcome)

    def count(self, outcome: str) -> None:
        self.posts.labels(outcome).inc()


class LedgerMetrics(Collector):
    """Jobs, as the ledger has them when somebody looks."""

    def __init__(self, ledger: Ledger, read_s: float = READ_S) -> None:
        """``read_s``: how long a look is waited for, in seconds."""
        self._ledger, self._read_s = ledger, read_s
        self._stages: dict[str, tuple[str, dict[str, float]]] = {}
        """By model: its newest job, and the seconds of that one's stages."""
        self._look: Future[tuple[Metric, ...]] | None = None
        self._looking = threading.Lock()

    def describe(self) -> tuple[Family, ...]:
        return (
            GaugeMetricFamily("modelyard_ledger_read", "1 if the ledger could be read just now."),
            GaugeMetricFamily("modelyard_jobs", "Jobs that have not ended, by state.", labels=("state",)),
            GaugeMetricFamily(
                "modelyard_queue_jobs",
                "Jobs that have not ended, by queue: those that wait and those that run. Trainers are scaled by it.",
                labels=("queue",),
            ),
            GaugeMetricFamily(
                "modelyard_oldest_queued_job_seconds", "Time since the oldest queued job was submitted; 0: none waits."
            ),
            CounterMetricFamily("modelyard_jobs_ended", "Jobs that have ended, by outcome.", labels=("model", "state")),
            CounterMetricFamily("modelyard_jobs_lost", "Attempts whose worker or process was lost."),
            GaugeMetricFamily(
                "modelyard_job_stage_seconds",
                "Time that a stage took in the newest job of a model that succeeded.",
                labels=("model", "stage"),
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """Without jobs while the ledger is away, or does not answer soon; then a look goes on, and no other begins."""
        is_read, *_ = self.describe()
        try:
            yield from self._begin_look().result(self._read_s)
            is_read.add_metric([], 1)
        except (StorageFailed, TimeoutError):
            is_read.add_metric([], 0)
        yield is_read

    def _begin_look(self) -> "Future[tuple[Metric, ...]]":
        """The one that is under way, or a new one, in a thread that nobody waits for at the end."""
        with self._looking:
            if self._look is None or self._look.done():
                self._look = Future()
                threading.Thread(target=self._fulfil, args=(self._look,), name="ledger metrics", daemon=True).start()
            return self._look

    def _fulfil(self, look: "Future[tuple[Metric, ...]]") -> None:
        try:
            look.set_result(self._read())
        except BaseException as error:  # noqa: BLE001  # whoever asked gets it
            look.set_exception(error)

    def _read(self) -> tuple[Metric, ...]:
        """Raises ``StorageFailed``."""
        _, jobs, queues, wait, ended, losses, stages = self.describe()
        counts = self._ledger.job_counts
        open_jobs = counts.count_open()
        for state in OPEN:
            jobs.add_metric([state], open_jobs[state])
        for queue, count in self._count_by_queue().items():
            queues.add_metric([queue], count)
        wait.add_metric([], counts.measure_longest_wait_s())
        for each, count in counts.count_ended().items():
            ended.add_metric([each.model, each.state], count)
        losses.add_metric([], counts.count_losses())
        for model, job_id in counts.list_newest().items():
            for stage, seconds in self._measure_stages(model, job_id).items():
                stages.add_metric([model, stage], seconds)
        return (jobs, queues, wait, ended, losses, stages)

    def _count_by_queue(self) -> Counter[str]:
        """Queues that have no job, too: who scales by one asks for it by name."""
        served = self._ledger.workers.list_queues()
        found = Counter({CPU_QUEUE: 0, GPU_QUEUE: 0})
        for devices, count in self._ledger.job_counts.count_open_by_devices().items():
            found[choose_queue(devices, served)] += count
        return found

    def _measure_stages(self, model: str, job_id: str) -> dict[str, float]:
        known = self._stages.get(model)
        if known is None or known[0] != job_id:
            found: dict[str, float] = {}
            for each in list_stages(self._ledger.jobs.list_events(job_id, kinds=("state", "progress"))):
                found[each.stage] = found.get(each.stage, 0.0) + (each.seconds or 0.0)
            known = self._stages[model] = (job_id, found)
        return known[1]


class RolloutMetrics(Collector):
    """Roles of versions, as the store has them when somebody looks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> tuple[Family, ...]:
        return (
            GaugeMetricFamily(
                "modelyard_role_version", "Version that has a role: stable, canary or shadow.", labels=("model", "role")
            ),
            GaugeMetricFamily(
                "modelyard_canary_share",
                "Share of a model's requests that its canary answers, 0 to 1.",
                labels=("model", "version"),
            ),
            GaugeMetricFamily(
                "modelyard_canary_since_timestamp_seconds",
                "When the canary began, in seconds since 1970.",
                labels=("model",),
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """Of models whose rollout can be read."""
        roles, shares, begins = self.describe()
        for model in self._store.models():
            with suppress(CorruptData, StorageFailed):
                now = read_rollout(self._store, model)
                for role in ("stable", "canary", "shadow"):
                    if (version := now.all_labels.get(role)) is not None:
                        roles.add_metric([model, role], version)
                if now.canary:
                    shares.add_metric([model, str(now.canary.version)], now.canary.percent / 100)
                    begins.add_metric([model], now.canary.since.timestamp())
        yield from (roles, shares, begins)


class PoolMetrics(Collector):
    """Memory of pools of model servers, as settings and rollouts have it when somebody looks."""

    def __init__(self, store: Store, pools: ServingPools) -> None:
        self._store, self._pools = store, pools

    def describe(self) -> tuple[Family, ...]:
        return (
            GaugeMetricFamily(
                "modelyard_pool_taken_bytes",
                "Memory that each model server of a pool takes for versions, estimated from their sizes.",
                labels=("pool",),
            ),
            GaugeMetricFamily(
                "modelyard_pool_memory_bytes",
                "Memory that each model server of a pool has for versions, of pools that state it.",
                labels=("pool",),
            ),
        )

    def collect(self) -> Iterator[Metric]:
        """Of every pool that settings name."""
        taken, memory = self.describe()
        for pool in self._pools.addresses:
            taken.add_metric([pool], MB * sum(each.memory for each in list_loaded(self._store, pool)))
            if pool in self._pools.memory:
                memory.add_metric([pool], self._pools.memory[pool])
        yield from (taken, memory)


def make_registry(store: Store, ledger: Ledger, pools: ServingPools = ONE_POOL) -> CollectorRegistry:
    """All but the duties'."""
    registry, disks = CollectorRegistry(), Disks({"store": store.root})
    ProcessCollector(namespace="modelyard_scheduler", registry=registry)
    for collector in (LedgerMetrics(ledger), RolloutMetrics(store), PoolMetrics(store, pools), disks):
        registry.register(collector)
    return registry
