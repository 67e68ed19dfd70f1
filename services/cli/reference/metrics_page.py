"""The page of metrics."""

from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram

from modelyard.services.gateway.metrics import LoopHistogram, Metrics

HEAD = """# Metrics

Written by `make docs` from the code. The gateway shows them at `GET /metrics`, in Prometheus' text format, with
the CPU seconds, memory and open files of its process: `modelyard_gateway_process_…`, as prometheus_client names them.
Gateways that share a port (`modelyard serve --workers`) show those of all, each with the label `worker`; what is known
of the whole system, such as waiting jobs, has none. TensorFlow Serving has metrics of its own: [deploy](deploy.md).

| metric | kind | labels | meaning |
|---|---|---|---|"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *rows(Metrics()), ""])


def rows(metrics: Metrics) -> Iterator[str]:
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram | LoopHistogram):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001  # it has no public name
            yield f"| `{name}` | {family.type} | {labels} | {family.documentation} |"
