"""``python -m modelyard.pipeline MODEL``: the same job that the queue runs, in this process."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelyard.models import backend
from modelyard.models.backend import DEFAULT, current_backend, parse_backend, use_backend
from modelyard.models.catalog import resolve_recipe, resolve_spec
from modelyard.models.errors import ModelyardError
from modelyard.models.sources.files import Sources
from modelyard.models.sources.pool_settings import PoolSettings
from modelyard.models.sources.project import ModelSettings
from modelyard.pipeline.event_files import record_events
from modelyard.pipeline.job import (
    JobLocations,
    Measured,
    Rejected,
    TrainingJob,
)
from modelyard.pipeline.job_options import REJECTED_EXIT_CODE, DataPolicy, RolloutTarget, parse_overrides
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress, format_left

if TYPE_CHECKING:
    from modelyard.pipeline.check import CheckedModel

HOME = Path(os.environ.get("MODELYARD_HOME") or ".modelyard")


def print_progress(progress: Progress) -> None:
    """Prints one line per report to standard error."""
    epoch = f"epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps}" if progress.epoch else ""
    values = " ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
    eta = format_left(progress.eta_s, at_most=progress.eta_at_most) if progress.eta_s else ""
    print(*filter(None, (f"[{progress.stage}]", epoch, progress.message, values, eta)), file=sys.stderr)


def main(
    model: str,
    recipe: Annotated[str, typer.Option(help="quick or full")] = "quick",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated")] = None,
    data: Annotated[DataPolicy, typer.Option(help="which data, if the real data is not available")] = "auto",
    rollout: Annotated[
        RolloutTarget, typer.Option(help="stable: promote the version; manual: only publish it")
    ] = "stable",
    store: Annotated[Path, typer.Option(envvar="MODELYARD_STORE")] = HOME / "store",
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = HOME / "data",
    work_dir: Annotated[Path, typer.Option(envvar="MODELYARD_WORK_DIR")] = HOME / "work",
    tensorboard_dir: Annotated[Path, typer.Option(envvar="MODELYARD_TENSORBOARD_DIR")] = HOME / "tensorboard",
    serving: Annotated[list[str] | None, typer.Option(help="host:port of a model server; may be repeated")] = None,
    models: Annotated[list[Path] | None, typer.Option(help="folder of model files; may be repeated")] = None,
    *,
    check: Annotated[bool, typer.Option("--check", help="check the model in seconds, and train nothing")] = False,
) -> None:
    """Train, export, evaluate, gate and publish one version of MODEL."""
    try:
        job = TrainingJob(model, recipe, parse_overrides(set_ or []), data, rollout, by="python -m modelyard.pipeline")
        sources = Sources(tuple(models or ModelSettings.load().models)).resolve()
        select_backend(job, sources)
        from modelyard.pipeline.check import check_model
        from modelyard.pipeline.run import run_job

        with ForkServer(fork=current_backend() == DEFAULT) as forks:  # Keras is imported, nothing is computed
            pools, servers = PoolSettings.load(), tuple(serving or ())
            named, memory = pools.serving_pools, pools.pool_memory
            locations = JobLocations(store, data_dir, work_dir, servers, sources, None, named, memory)
            if check:
                print(describe_checked(check_model(job, locations, forks, print_progress)))
                return
            run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
            with record_events(tensorboard_dir / model / run, print_progress) as report:
                outcome = run_job(job, locations, forks, report)
    except ModelyardError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if isinstance(outcome, Rejected):
        print(f"rejected: {'; '.join(outcome.verdict.reasons)}", file=sys.stderr)
        raise SystemExit(REJECTED_EXIT_CODE)
    if isinstance(outcome, Measured):
        print("measured on the validation split:", *(f"{name} {value:.4f}" for name, value in outcome.metrics.items()))
        return
    manifest, promotion = outcome.manifest, outcome.promotion
    verdict = manifest.verdict
    assert manifest.data  # it was trained just now
    assert verdict.metric
    test = f"{verdict.metric} {manifest.metrics[verdict.metric]:.4f} on {manifest.data.name}"
    print(f"published {manifest.model} version {manifest.version}: {test}")
    print(f"promoted: {promotion.promoted} ({promotion.reason})")


def describe_checked(checked: "CheckedModel") -> str:
    """What a check found, in two lines."""
    spec, splits = checked.spec, checked.data.splits
    sizes = f"{len(splits.train)} to train, {len(splits.validation)} to validate, {len(splits.test)} to test"
    labels = f", {len(spec.labels)} labels" if spec.labels else ""
    return f"{spec.name}: {spec.task}{labels}; gate on {spec.gate.metric}; ready to be trained\ndata: {sizes}"


def select_backend(job: TrainingJob, sources: Sources) -> None:
    """Makes this process compute with the backend of the job's recipe.

    Only the model's file knows it, and importing that file fixes it: a process with the wrong backend replaces itself.
    """
    use_backend(parse_backend(job.overrides.get("backend", os.environ.get(backend.VARIABLE))))
    wanted = resolve_recipe(resolve_spec(job.model, sources), job.recipe, job.overrides).backend
    if wanted != current_backend():
        os.execve(sys.executable, sys.orig_argv, os.environ | {backend.VARIABLE: wanted})  # noqa: S606  # ourselves


if __name__ == "__main__":
    typer.run(main)
