"""``modelyard plan-batches --serving-file``: measures flags of model servers, and writes the file that they read."""

import itertools
import os
import platform
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from modelyard.models.errors import InvalidData, UnknownName
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store, replace_file
from modelyard.models.tfserving.client import ServingClient
from modelyard.models.types import Array
from modelyard.services.cli import output
from modelyard.services.cli.commands.batching.choice import (
    Candidate,
    Load,
    Measured,
    ServingFlags,
    choose,
    list_threads,
    list_variations,
)
from modelyard.services.cli.commands.batching.plan_batches import SIGNATURE, TIMEOUT_S, read_golden_inputs, repeat_rows
from modelyard.services.cli.commands.batching.server_under_test import interrupt_on_sigterm, run_server, use_cpus
from modelyard.services.cli.commands.batching.serving_file import Report, list_flags, name_file, write_file

KINDS = ((1, 2), (32, 2), (1, 16))
"""Rows of a call, and calls in flight: a gateway's, one row or joined ones; and of several gateways or gRPC clients."""
ROUNDS = 5
"""Each load of each candidate is measured so often, in turn with the others', and the median counts."""
WARM_UP_CALLS = 3


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and for which files."""

    store: Store
    versions: Mapping[str, int]
    cpus: int
    extrapolate: tuple[int, ...]
    path: Path
    target_ms: float
    seconds: float
    command: tuple[str, ...]
    rounds: int = ROUNDS

    @property
    def paths(self) -> dict[int, Path]:
        """Files by number of CPUs, the measured one first."""
        return {self.cpus: self.path} | {cpus: name_file(self.path, cpus) for cpus in self.extrapolate}


@dataclass(frozen=True)
class Slice:
    """One load of one candidate, in one round."""

    rows_per_s: float
    p99_ms: float


def choose_versions(store: Store, model: str | None, version: int | None) -> dict[str, int]:
    """The version that is meant, or the stable one of the model, or of each model.

    Raises:
        UnknownName: there is none.
    """
    if model is not None:
        number = version or read_rollout(store, model).stable
        if number is None:
            raise UnknownName(f"{model} has no stable version; name one with --version")
        return {model: number}
    found = {name: read_rollout(store, name).stable for name in store.models()}
    stable = {name: number for name, number in found.items() if number is not None}
    if not stable:
        raise UnknownName(f"no model in {store.root} has a stable version; train or import one first")
    return stable


def choose_cpus(wanted: int | None, extrapolate: Sequence[int]) -> int:
    """The number of CPUs that are measured: as wanted, or those that this process may use.

    Raises:
        InvalidData: there are not so many, or a number is to be extrapolated to that is measured; or processes cannot
            be held to some of them.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS
        raise InvalidData(
            "--serving-file holds model servers to some CPUs, which this system cannot do: run it on Linux"
        )
    there = len(os.sched_getaffinity(0))
    if wanted is not None and not 1 <= wanted <= there:
        raise InvalidData(
            f"--cpus must be from 1 to {there}, the CPUs that are here, received {wanted}; --extrapolate writes a file "
            "for more, and says so in it"
        )
    cpus = wanted or there
    if cpus in extrapolate or min(extrapolate, default=1) < 1:
        raise InvalidData(f"--extrapolate must be a number of CPUs other than the {cpus} measured, at least 1")
    return cpus


def write_serving_files(plan: Plan) -> Report:
    """Measures, chooses and writes.

    Raises:
        InvalidData: a file cannot be written, which is found out before anything is measured.
        MeasurementFailed: a model server does not come up. ServingFailed: it refuses a call.
    """
    require_writable(plan.paths)
    machine = describe_machine()
    with interrupt_on_sigterm():
        first = measure(plan, list_threads(plan.cpus))
        variations = measure(plan, list_variations(choose(first, plan.target_ms).flags, plan.cpus))
    report = Report(
        cpus=plan.cpus,
        machine=machine,
        measured_at=datetime.now(UTC),
        versions=tuple(f"{model} version {version}" for model, version in plan.versions.items()),
        command=plan.command,
        target_ms=plan.target_ms,
        first=tuple(first),
        variations=tuple(variations),
        chosen=choose(variations, plan.target_ms),
    )
    for cpus, path in plan.paths.items():
        replace_file(path, write_file(report, cpus).encode())
    return report


def require_writable(paths: Mapping[int, Path]) -> None:
    """Raises ``InvalidData`` unless a file of its own can be put in each place."""
    for cpus, path in paths.items():
        folder = path.parent
        if path.is_dir():
            raise InvalidData(f"cannot write {path}: it is a folder")
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InvalidData(f"cannot write {path}: {folder} is no folder that can be written to")
        if list(paths.values()).count(path) > 1:
            raise InvalidData(
                f"cannot write {path} twice: name the file of --serving-file otherwise than for {cpus} CPUs"
            )


def measure(plan: Plan, flags: Sequence[ServingFlags]) -> list[Candidate]:
    """A candidate for each, in order.

    All model servers are there at once, and each is asked in turn while the others idle: what else the machine does
    hits all of them alike.
    """
    inputs = {model: read_golden_inputs(plan.store, model, version) for model, version in plan.versions.items()}
    loads = [Load(model, rows, calls) for model in plan.versions for rows, calls in KINDS]
    slices: dict[tuple[ServingFlags, Load], list[Slice]] = {(each, load): [] for each in flags for load in loads}
    cpus = sorted(os.sched_getaffinity(0))
    own, others = frozenset(cpus[: plan.cpus]), frozenset(cpus[plan.cpus :] or cpus)
    with ExitStack() as stack:
        clients = {}
        for number, each in enumerate(flags, start=1):
            with output.errors.status(f"starting model server {number} of {len(flags)}"):
                clients[each] = stack.enter_context(run_server(plan.store, plan.versions, each, own))
        stack.enter_context(use_cpus(others))
        for number, load in itertools.product(range(plan.rounds), loads):
            with output.errors.status(f"round {number + 1} of {plan.rounds}: {load.model}, {load.rows} x {load.calls}"):
                rows = repeat_rows(inputs[load.model], load.rows)
                for each in flags if number % 2 == 0 else reversed(flags):
                    seconds = plan.seconds / plan.rounds
                    slices[each, load].append(ask(clients[each], load, plan.versions[load.model], rows, seconds))
    return [Candidate(each, tuple(summarize(load, slices[each, load]) for load in loads)) for each in flags]


def ask(client: ServingClient, load: Load, version: int, inputs: Mapping[str, Array], seconds: float) -> Slice:
    """Keeps so many calls in flight for ``seconds``, after a few that do not count. Raises ``ServingFailed``."""
    for _ in range(WARM_UP_CALLS):
        client.predict(load.model, version, SIGNATURE, inputs, TIMEOUT_S)
    took_s: list[float] = []
    started = time.perf_counter()

    def call_again_and_again() -> None:
        now = time.perf_counter()
        while not took_s or now < started + seconds:  # one call at least, however slow it is
            client.predict(load.model, version, SIGNATURE, inputs, TIMEOUT_S)
            began, now = now, time.perf_counter()
            took_s.append(now - began)

    with ThreadPoolExecutor(load.calls) as pool:
        callers = [pool.submit(call_again_and_again) for _ in range(load.calls)]
    for caller in callers:
        caller.result()
    elapsed_s = time.perf_counter() - started
    return Slice(load.rows * len(took_s) / elapsed_s, float(np.percentile(took_s, 99)) * 1000)


def summarize(load: Load, slices: Sequence[Slice]) -> Measured:
    """Medians over the rounds."""
    rows_per_s, p99_ms = (median(values) for values in zip(*map(astuple, slices), strict=True))
    return Measured(load, round(rows_per_s, 1), round(p99_ms, 2))


def describe_machine() -> str:
    """Such as ``x86_64, Intel Xeon, 2 CPUs, load average 0.1``; not its name, which is nobody's business."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{platform.machine()}, {model}, {os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f}"


def print_report(plan: Plan, report: Report) -> None:
    """What was chosen, the flags that go with it, and the files."""
    output.console.print(f"chosen: {report.flags.describe()}", markup=False)
    output.console.print(f"flags that go with it: {' '.join(list_flags(report.flags))}", markup=False)
    for cpus, path in plan.paths.items():
        how = "measured" if cpus == plan.cpus else "extrapolated, not measured"
        output.console.print(f"{path}: for {cpus} CPUs, {how}", markup=False)
