"""Metrics of a worker: the jobs that it runs, its process and its disks."""

from collections.abc import Iterator
from contextlib import suppress

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import Ledger
from modelyard.services.metrics.disks import Disks
from modelyard.services.trainer.settings import TrainerSettings


class WorkerMetrics(Collector):
    """What one worker does, as the ledger has it when somebody looks."""

    def __init__(self, ledger: Ledger, name: str, devices: str, slots: int) -> None:
        self._ledger, self._name, self._devices, self._slots = ledger, name, devices, slots

    def describe(self) -> tuple[GaugeMetricFamily, ...]:
        return (
            GaugeMetricFamily(
                "modelyard_trainer_slots", "Jobs that this worker runs at a time, at most.", labels=("devices",)
            ),
            GaugeMetricFamily(
                "modelyard_trainer_running_jobs", "Jobs that it runs now; none is shown while the ledger is away."
            ),
        )

    def collect(self) -> Iterator[Metric]:
        slots, running = self.describe()
        slots.add_metric([self._devices], self._slots)
        with suppress(StorageFailed):
            running.add_metric([], len(self._ledger.jobs.list_held(self._name)))
        yield from (slots, running)


def make_registry(settings: TrainerSettings, ledger: Ledger, name: str) -> CollectorRegistry:
    """Of the worker's own process: those that train are counted by what they do."""
    registry = CollectorRegistry()
    ProcessCollector(namespace="modelyard_trainer", registry=registry)
    devices = "gpu" if settings.gpu_count() else "cpu"
    registry.register(WorkerMetrics(ledger, name, devices, settings.concurrency))
    registry.register(Disks({"store": settings.store, "work": settings.work_dir, "data": settings.data_dir}))
    return registry
