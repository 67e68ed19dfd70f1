"""The page of metrics."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from modelyard.models.registry.store import Store
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.ledger import Ledger
from modelyard.services.metrics.disks import Disks
from modelyard.services.modelserver.metrics.counts import ServingMetrics
from modelyard.services.modelserver.metrics.page import describe_family
from modelyard.services.scheduler.metrics import (
    ONE_POOL,
    DutyMetrics,
    LedgerMetrics,
    NotificationMetrics,
    PoolMetrics,
    RolloutMetrics,
)
from modelyard.services.sync.metrics import SyncMetrics
from modelyard.services.trainer.metrics import WorkerMetrics

HEAD = """# Metrics

Written by `make docs` from the code. The gateway shows its own at `GET /metrics`, in Prometheus' text format;
scheduler, trainer and sync on a port of their own, which is off unless
[`MODELYARD_METRICS_PORT`](settings.md#scheduler) is set. Each adds the CPU seconds, memory and open files of its
process (`modelyard_gateway_process_…`), as prometheus_client names them. Gateways
that share a port (`modelyard serve --workers`) show those of all, each with the label `worker`; what is known of the
whole system, such as waiting jobs, has none. Our model server has those of TensorFlow Serving that are in the table
here, with its names, labels, bounds and path ([deploy](deploy.md#what-to-watch)); in one process with the gateway they
are among the gateway's. TensorFlow Serving itself has hundreds more. What somebody has to be told of:
[alerts](alerts.md)."""
TABLE = """
## {}

| metric | kind | labels | meaning |
|---|---|---|---|"""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for process, metrics in list_metrics().items():
        lines += [TABLE.format(process), *map(row, metrics)]
    return "\n".join([*lines, ""])


def list_metrics() -> Mapping[str, Iterable[tuple[Metric, tuple[str, ...]]]]:
    """By process: each metric with its labels."""
    gateway, registry = Metrics(), CollectorRegistry()
    duties = [*vars(DutyMetrics(registry)).values(), *vars(NotificationMetrics(registry)).values()]
    ledger, store = Ledger("sqlite:///none"), Store(Path("none"))
    return {
        "Gateway": list(describe(vars(gateway).values())),
        "Scheduler": list(
            describe([*duties, LedgerMetrics(ledger), RolloutMetrics(store), PoolMetrics(store, ONE_POOL), Disks({})])
        ),
        "Trainer": list(describe([WorkerMetrics(ledger, "", "cpu", 1), Disks({})])),
        "Model server": [(describe_family(each), each.labels) for each in ServingMetrics().families],
        "Sync": list(describe([*vars(SyncMetrics(CollectorRegistry())).values(), Disks({})])),
    }


def describe(values: Iterable[object]) -> Iterator[tuple[Metric, tuple[str, ...]]]:
    for value in values:
        for family in value.describe() if hasattr(value, "describe") else ():
            own = value if hasattr(value, "_labelnames") else family
            yield family, tuple(own._labelnames)  # noqa: SLF001  # it has no public name


def row(metric: tuple[Metric, tuple[str, ...]]) -> str:
    family, labels = metric
    name = name_series(family)
    return f"| `{name}` | {family.type} | {', '.join(f'`{label}`' for label in labels)} | {family.documentation} |"


def name_series(family: Metric) -> str:
    """As it stands in a query."""
    is_named_so = family.type != "counter" or family.name.startswith(":")  # TensorFlow Serving's are as they are
    return family.name if is_named_so else f"{family.name}_total"
