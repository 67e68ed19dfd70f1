"""The text of a ``BatchingParameters`` file: what TensorFlow Serving and our model server read, and its reasons."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from modelyard.services.cli.commands.batching.choice import (
    ENQUEUED_BATCHES,
    NOISE,
    REST_THREADS,
    Candidate,
    ServingFlags,
    score,
)

HEAD = """\
# How TensorFlow Serving joins calls (BatchingParameters, servables/tensorflow/session_bundle_config.proto). The gateway
# has joined what could be joined; this is for several gateways, for gRPC clients, and to bound what runs and waits.
"""


@dataclass(frozen=True)
class Report:
    """What was measured, and where."""

    cpus: int
    """That the model server was given."""
    machine: str
    measured_at: datetime
    versions: tuple[str, ...]
    """Such as ``mnist_cnn version 1``."""
    command: tuple[str, ...]
    target_ms: float
    first: tuple[Candidate, ...]
    """Candidates that differ in threads."""
    variations: tuple[Candidate, ...]
    """The best of them, and the same with one other flag changed."""
    chosen: Candidate

    @property
    def flags(self) -> ServingFlags:
        return self.chosen.flags


def write_parameters(flags: ServingFlags) -> str:
    """The parameters, each with its reason."""
    return f"""\
thread_pool_name {{ value: "batches" }}
# Rows of one run. A call with more is refused, so: not below the gateway's MODELYARD_MAX_INSTANCES.
max_batch_size {{ value: {flags.max_batch_size} }}
# Maximum time that a call waits for others. 0: one that comes alone runs at once.
batch_timeout_micros {{ value: {flags.timeout_us} }}
# Runs side by side.
num_batch_threads {{ value: {flags.batch_threads} }}
# What waits beyond this is refused, and becomes 503 with Retry-After, instead of an answer that comes too late.
max_enqueued_batches {{ value: {ENQUEUED_BATCHES} }}
"""


def list_flags(flags: ServingFlags) -> tuple[str, ...]:
    """The flags that go with the file."""
    inter_op = (f"--tensorflow_inter_op_parallelism={flags.inter_op}",) if flags.inter_op else ()
    return (
        f"--tensorflow_intra_op_parallelism={flags.intra_op}",
        *inter_op,
        f"--rest_api_num_threads={REST_THREADS}",
    )


def write_file(report: Report, cpus: int) -> str:
    """The whole file for a model server with so many CPUs: the measured number, or one that is extrapolated to."""
    flags = report.flags.for_cpus(report.cpus, cpus)
    return "".join((HEAD, _comment(_origin(report, cpus)), write_parameters(flags), _comment(_measurements(report))))


def name_file(path: Path, cpus: int) -> Path:
    """Beside a file, that for another number of CPUs: of ``batching.2.txt`` or ``batching.txt``, ``batching.4.txt``."""
    stem, _, last = path.stem.rpartition(".")
    return path.with_name(f"{stem if stem and last.isdecimal() else path.stem}.{cpus}{path.suffix}")


def _comment(lines: Sequence[str]) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _origin(report: Report, cpus: int) -> list[str]:
    if cpus == report.cpus:
        what = f"For {_count(cpus)}: measured, as below."
    else:
        what = (
            f"For {_count(cpus)}: EXTRAPOLATED, not measured: as many threads for each CPU as were best on "
            f"{_count(report.cpus)}, the rest as there."
        )
    return [
        "",
        what,
        f"Flags that go with it: {' '.join(list_flags(report.flags))}",
        f"Written by: {shlex.join(report.command)}",
        f"On {report.measured_at:%Y-%m-%d}, on {report.machine}.",
        "",
    ]


def _count(cpus: int) -> str:
    return "1 CPU" if cpus == 1 else f"{cpus} CPUs"


def _measurements(report: Report) -> list[str]:
    loads = [found.load for found in report.chosen.results]
    models = sorted({load.model for load in loads})
    kinds = sorted({(load.rows, load.calls) for load in loads})
    asked = "; ".join(f"{rows} row{'s' * (rows > 1)} a call, {calls} calls in flight" for rows, calls in kinds)
    return [
        "",
        f"Measured with our model server on {_count(report.cpus)}, over gRPC with golden inputs.",
        f"Models: {', '.join(report.versions)}.",
        f"Loads: {asked}.",
        f"Chosen: the first within {NOISE:.0%} of the most rows a second (geometric mean of shares of the best),",
        f"among those whose 99th percentile is within {report.target_ms:g} ms wherever any candidate's is.",
        "All model servers were there at once and were asked in turn; medians of the rounds.",
        "REST threads are not measured: TensorFlow Serving's REST port answers health checks and metrics alone.",
        "",
        *_table("threads", report.first, report.flags),
        *_table("one other flag", report.variations, report.flags),
        "",
        *(line for model in models for line in _describe_loads(model, report)),
    ]


def _table(title: str, candidates: Sequence[Candidate], chosen: ServingFlags) -> list[str]:
    rows = [f"{title}: share of the best, worst p99 in ms"]
    for each in candidates:
        worst = max(found.p99_ms for found in each.results)
        mark = " <- chosen" if each.flags == chosen else ""
        rows.append(f"  {score(each, candidates):.2f}  {worst:6.1f}  {each.flags.describe()}{mark}")
    return rows


def _describe_loads(model: str, report: Report) -> list[str]:
    """What the chosen flags came to, by load."""
    own = [found for found in report.chosen.results if found.load.model == model]
    each = "; ".join(
        f"{found.load.rows} x {found.load.calls}: {found.rows_per_s:.0f}, {found.p99_ms:.1f}" for found in own
    )
    return [f"chosen, {model} (rows x calls: rows/s, p99 ms): {each}"]
