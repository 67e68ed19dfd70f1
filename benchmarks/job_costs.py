"""What a job costs beside fitting: CPU seconds of each of its parts. Linux only.

    python -m benchmarks.job_costs neuron mnist_mlp wine [--rounds 3] [--serving] [--json FILE]

Runs jobs as a trainer does: in forks of a process that has imported Keras, on the shipped samples. ``wine`` is the
table of ``examples``. Times are those of the processes, with all of their threads; of several rounds the median is
printed. With ``--serving`` a model server loads each version and is measured as well. Judges nothing.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from benchmarks.serving.processes import cpu_s
from modelyard.models.registry.serving_config import CONFIG
from modelyard.models.sources.files import EXAMPLES, Sources
from modelyard.pipeline.job import JobLocations, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from modelyard.pipeline.progress import Progress

ROOT = Path(__file__).parents[1]
MODULE = "benchmarks.job_costs"
REST, FIT = "the rest", "fit"
PARTS: Mapping[str, Mapping[str, str]] = {
    "modelyard.pipeline.run": {
        "load_model": "load the model's file",
        "load_data": "read and check the data",
        "hold_back": "hold back",
        "measure_baseline": "baseline",
        "describe_environment": "read versions",
        "publish": "publish",
        "roll_out": "roll out",
        "export": "hand over to export",
        "evaluate": "hand over to evaluate",
        "rehearse": "hand over to rehearse",
        "train": "train: the rest",
    },
    "modelyard.pipeline.stages.train": {
        "prepare_data": "prepare",
        "compile_model": "compile",
        "resume": "build the optimiser",
        "fit": FIT,
        "run_own_loop": FIT,
        "save_seen": "keep what was seen",
    },
    "modelyard.pipeline.stages.rehearse": {"fit_batch": "one step", "load_saved": "load the model's file"},
    "modelyard.pipeline.stages.export": {
        "load_saved": "load the model's file",
        "write_warmup": "write warm-up requests",
        "save_golden": "write golden answers",
    },
    "modelyard.pipeline.stages.evaluate": {
        "run_all": "predict",
        "measure_latency": "latency",
        "compute_metrics": "metrics",
        "describe_answers": "metrics",
        "write_mistakes": "metrics",
        "measure_uncertainty": "metrics",
        "measure_golden_difference": "golden answers",
    },
    "modelyard.pipeline.exporting.operations": {"check_operations": "check operations"},
    "modelyard.pipeline.exporting.saved_model": {
        "write_saved_model": "golden answers",
        "build_endpoints": "other signatures",
        "trace": "trace signatures",
    },
    "modelyard.pipeline.exporting.signatures": {
        "learn_uncertainty": "calibrate",
        "make_scores": "explain: scores",
        "explain_endpoints": "explain: trace",
        "trace_decoder": "trace the decoder",
    },
    "modelyard.pipeline.exporting.forward": {"Forward.run": "calibrate: run the model"},
    "modelyard.pipeline.exporting.uncertainty": {
        "learn_typicality": "calibrate: typicality",
        "learn_answers": "calibrate: temperature",
    },
    "modelyard.pipeline.evaluation.exported": {
        "measure_golden_difference": "golden answers",
        "find_broken_explanation": "explain one example",
    },
    "tensorflow.saved_model": {"load": "load the SavedModel", "save": "write the SavedModel"},
}
"""Functions by the module that calls them, and what their time is called."""


@dataclass
class Timers:
    """CPU seconds of this process by part; a part's own, without those of parts inside it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _now: float = 0.0
    _running: list[str] = field(default_factory=lambda: [REST])

    def switch(self) -> None:
        """What has passed since the last switch belongs to the part that runs."""
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._now
        self._now = now

    def measure(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            self.switch()
            self._running.append(name)
            try:
                return function(*arguments, **named)
            finally:
                self.switch()
                self._running.pop()

        return measured

    def attach(self) -> None:
        """Puts itself around all parts."""
        for module, parts in PARTS.items():
            for path, name in parts.items():
                *outer, last = path.split(".")
                owner = import_module(module)
                for part in outer:
                    owner = getattr(owner, part)
                setattr(owner, last, self.measure(getattr(owner, last), name))


class TimedForks(ForkServer):
    """A fork server whose stages are measured."""

    def __init__(self, costs: Path) -> None:
        super().__init__(fork=True)
        self._costs = costs

    def start(self, module: str, *arguments: str, own_group: bool = False) -> ForkedProcess:
        return super().start(MODULE, str(self._costs), module, *arguments, own_group=own_group)


def main(costs: str = "", module: str = "", *arguments: str) -> None:
    """A job or a stage, in a fork; nothing at all without arguments."""
    if not module:
        return
    timers = Timers()
    timers.attach()
    name = module.rpartition(".")[2]
    try:
        run_job_here(costs, *arguments) if module == MODULE else import_module(module).main(*arguments)
    finally:
        timers.switch()
        with Path(costs).open("a") as file:
            file.write(json.dumps({"train" if module == MODULE else name: timers.seconds}) + "\n")


def run_job_here(costs: str, model: str, folder: str, models: str, serving: str, overrides: str) -> None:
    from modelyard.pipeline.run import run_job

    with TimedForks(Path(costs)) as forks:
        home = Path(folder)
        job = TrainingJob(model, "quick", json.loads(overrides), "sample", "stable", by="a benchmark")
        sources = Sources((Path(models),)) if models else EXAMPLES
        addresses = (serving,) if serving else ()
        locations = JobLocations(home / "store", home / "data", home / "work", addresses, sources)
        outcome = run_job(job, locations, forks, show)
    print(outcome.state, file=sys.stderr)


def show(progress: Progress) -> None:
    if os.environ.get("JOB_COSTS_VERBOSE"):
        print(progress.stage, progress.message, file=sys.stderr)


# --- the parent -------------------------------------------------------------------------------------------------------


def measure_job(
    model: str, server: ForkServer, home: Path, models: str, epochs: int, serving: str
) -> dict[str, dict[str, float]]:
    """CPU seconds by process and part."""
    overrides = json.dumps({"epochs": epochs} if epochs else {})
    costs = home / "costs.jsonl"
    costs.unlink(missing_ok=True)
    before = sum(cpu_s(os.getpid()).values())
    with server.start(MODULE, str(costs), MODULE, model, str(home), models, serving, overrides) as process:
        errors = process.stderr.read().decode()
        if process.wait():
            raise SystemExit(f"{model}: {errors}")
    found: dict[str, dict[str, float]] = {}
    for line in costs.read_text().splitlines():
        found |= json.loads(line)
    known = sum(sum(parts.values()) for parts in found.values())
    found["outside"] = {"forks, model server": sum(cpu_s(os.getpid()).values()) - before - known}
    return found


def show_table(model: str, rounds: list[dict[str, dict[str, float]]], least: float) -> None:
    """Medians; parts below ``least`` seconds are added up."""
    totals = median(sum(sum(parts.values()) for parts in each.values()) for each in rounds)
    fitting = median(each["train"].get(FIT, 0.0) for each in rounds)
    print(f"\n| {model} | CPU s |\n|---|---|")
    print(f"| **whole job** | **{totals:.2f}** |\n| **without fitting** | **{totals - fitting:.2f}** |")
    for process in dict.fromkeys(name for each in rounds for name in each):
        found = {name for each in rounds for name in each.get(process, {})}
        values = {name: median(each.get(process, {}).get(name, 0.0) for each in rounds) for name in found}
        print(f"| **{process}** | **{sum(values.values()):.2f}** |")
        large = {name: value for name, value in values.items() if value >= least and name != REST}
        for name, value in sorted(large.items(), key=lambda item: -item[1]):
            print(f"| {name} | {value:.2f} |")
        print(f"| {REST} | {sum(values.values()) - sum(large.values()):.2f} |")


@contextmanager
def serve(store: Path) -> Iterator[str]:
    """A model server; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    store.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-P", "-m", "modelyard.services.modelserver"),
        f"--port={address.rpartition(':')[2]}",
        f"--model_config_file={store / CONFIG}",
        "--model_config_file_poll_wait_seconds=1",
    ]
    log, environment = store.parent / "modelserver.log", os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        yield address
        process.terminate()


def costs(
    models: Annotated[list[str], typer.Argument(help="names of the zoo, or wine")],
    rounds: int = 1,
    least: Annotated[float, typer.Option(help="CPU seconds from which on a part has a line")] = 0.05,
    epochs: Annotated[int, typer.Option(help="in place of the recipe's: what is measured is the rest of the job")] = 0,
    *,
    serving: Annotated[bool, typer.Option("--serving", help="load versions into a model server")] = False,
    file: Annotated[Path | None, typer.Option("--json", help="append the measured values")] = None,
) -> None:
    """Measure jobs of some models, one after another."""
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory(prefix="job-costs-") as name, ForkServer() as server:
        folder = Path(name)
        import_cost(server)
        if "wine" in models:
            subprocess.run([sys.executable, ROOT / "examples/make_data.py", folder / "data"], check=True)
            (folder / "models").mkdir()
            (folder / "models" / "wine.py").write_bytes((ROOT / "examples/models/wine.py").read_bytes())
        for model in models:
            own = str(folder / "models") if model == "wine" else ""
            found = []
            for number in range(rounds):
                home = folder / f"{model}-{number}"
                home.mkdir()
                job = partial(measure_job, model, server, home, own, epochs)
                if serving:
                    with serve(home / "store") as address:
                        found.append(job(address))
                else:
                    found.append(job(""))
            show_table(model, found, least)
            if file:
                with file.open("a") as out:
                    out.write(json.dumps({"model": model, "rounds": found}) + "\n")


def import_cost(server: ForkServer) -> None:
    """Prints what the server needs to import what its forks share; afterwards it has done so."""
    before = sum(cpu_s(os.getpid()).values())
    with server.start(MODULE) as process:
        process.wait()
    print(f"imports, once for all jobs of a trainer: {sum(cpu_s(os.getpid()).values()) - before:.2f} CPU s")


if __name__ == "__main__":
    typer.run(costs)
