"""``python -m pipeline MODEL``: the same job as the queue runs, in this process."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from modelyard.models import backend, catalog
from modelyard.models.errors import ModelyardError
from modelyard.pipeline.forkserver import ForkServer
from modelyard.pipeline.job import (
    REJECTED_EXIT,
    Measured,
    Place,
    Policy,
    Rejected,
    Run,
    Target,
    parse_overrides,
)
from modelyard.pipeline.progress import Progress


def show(progress: Progress) -> None:
    """One line per report on standard error."""
    epoch = f"epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps}" if progress.epoch else ""
    values = " ".join(f"{name} {value:.4f}" for name, value in progress.metrics.items())
    eta = f"ETA {progress.eta_s:.0f} s" if progress.eta_s else ""
    print(*filter(None, (f"[{progress.stage}]", epoch, progress.message, values, eta)), file=sys.stderr)


def main(
    model: str,
    recipe: Annotated[str, typer.Option(help="quick or full")] = "quick",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value; may be repeated")] = None,
    data: Annotated[Policy, typer.Option(help="what to do when the real data cannot be had")] = "auto",
    rollout: Annotated[Target, typer.Option(help="stable: let the version answer; manual: only publish it")] = "stable",
    store: Annotated[Path, typer.Option(envvar="MODELYARD_STORE")] = Path(".modelyard/store"),
    data_dir: Annotated[Path, typer.Option(envvar="MODELYARD_DATA_DIR")] = Path(".modelyard/data"),
    work_dir: Annotated[Path, typer.Option(envvar="MODELYARD_WORK_DIR")] = Path(".modelyard/work"),
    serving: Annotated[list[str] | None, typer.Option(help="host:port of a model server; may be repeated")] = None,
) -> None:
    """Train, export, evaluate, gate and publish one version of MODEL."""
    try:
        job = Run(model, recipe, parse_overrides(set_ or []), data, rollout, by="python -m pipeline")
        begin(job)
        from modelyard.pipeline.run import run

        with ForkServer(fork=backend.current() == backend.DEFAULT) as forks:  # Keras is imported, nothing is computed
            outcome = run(job, Place(store, data_dir, work_dir, tuple(serving or ())), forks, show)
    except ModelyardError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if isinstance(outcome, Rejected):
        print(f"rejected: {'; '.join(outcome.verdict.reasons)}", file=sys.stderr)
        raise SystemExit(REJECTED_EXIT)
    if isinstance(outcome, Measured):
        print("measured on the validation split:", *(f"{name} {value:.4f}" for name, value in outcome.metrics.items()))
        return
    manifest, promotion = outcome.manifest, outcome.promotion
    value = manifest.metrics[manifest.verdict.metric]
    test = f"{manifest.verdict.metric} {value:.4f} on {manifest.data.name}"
    print(f"published {manifest.model} version {manifest.version}: {test}")
    print(f"promoted: {promotion.promoted} ({promotion.reason})")


def begin(job: Run) -> None:
    """Makes this process compute with the backend of the job's recipe.

    Only the zoo file knows it, and importing that decides it: a process that guessed wrong becomes a new one.
    """
    backend.begin(backend.known(job.overrides.get("backend", os.environ.get(backend.VARIABLE))))
    wanted = catalog.recipe_of(catalog.load(job.model), job.recipe, job.overrides).backend
    if wanted != backend.current():
        os.execve(sys.executable, sys.orig_argv, os.environ | {backend.VARIABLE: wanted})  # noqa: S606  # ourselves


if __name__ == "__main__":
    typer.run(main)
