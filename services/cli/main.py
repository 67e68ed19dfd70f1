"""The ``modelyard`` command."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import Sources
from modelyard.pipeline.job import DataPolicy, RolloutTarget, parse_overrides
from modelyard.services.cli import output
from modelyard.services.cli.client import Client, read_prediction_body
from modelyard.services.cli.commands import jobs, keys, rollouts, searches, triggers
from modelyard.services.cli.commands.audit import audit, verify
from modelyard.services.cli.commands.gc import gc
from modelyard.services.cli.commands.local.check import check
from modelyard.services.cli.commands.local.imports import import_model
from modelyard.services.cli.commands.local.init import init
from modelyard.services.cli.commands.local.tensorboard import tensorboard
from modelyard.services.cli.commands.migrate import migrate
from modelyard.services.cli.options import DEFAULT_URL, DataDir, Home, Models, Port, Url, Workers
from modelyard.services.cli.project.settings import check_project

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Sharing = Literal["checked", "always", "never"]
Priority = Literal["high", "normal", "low"]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Recipe value as key=value; may be repeated.")]
Data = Annotated[DataPolicy, typer.Option(help="auto: the real data, else the shipped sample.")]
app.add_typer(jobs.app, name="jobs")
app.add_typer(searches.app, name="searches")
app.add_typer(triggers.app, name="triggers")
app.add_typer(keys.app, name="keys")
COMMANDS = (init, check, rollouts.promote, rollouts.rollback, rollouts.rollout, audit, verify, gc, migrate, tensorboard)
for command in COMMANDS:
    app.command()(command)
app.command("import")(import_model)


def print_version(wanted: bool) -> None:
    """Prints the version of the installed package and ends."""
    if wanted:
        typer.echo(f"modelyard {importlib.metadata.version('modelyard')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Train Keras models from a job queue, and serve them."""


@app.command()
def up(
    *,
    home: Home,
    data_dir: DataDir,
    port: Port,
    serving_port: Annotated[int, typer.Option(help="gRPC port of the model server.", min=1, max=65535)] = 8500,
    workers: Workers,
    models: Models,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model to train and serve; may be repeated. All, if not set."),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of the first versions.")] = "quick",
    data: Data = "auto",
) -> None:
    """Start the whole system on this machine, train missing models, and serve until Ctrl-C."""
    from modelyard.services.cli.commands.local.up import LocalSystem
    from modelyard.services.cli.commands.local.up import up as run
    from modelyard.services.cli.project.catalog import choose_models

    check_project()
    sources = Sources(tuple(models)).resolve()
    chosen = choose_models(sources, model or ())
    home = home.resolve()
    folder = (data_dir or home / "data").resolve()
    workers = workers or min(2, os.cpu_count() or 1)
    run(LocalSystem(home, folder, port, serving_port, workers, sources), chosen, recipe, data)


@app.command()
def serve(
    *,
    models_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of SavedModels: DIR/NAME/VERSION.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="ModelServerConfig in text format.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the gateway.", min=1, max=65535)] = 8080,
    serving_port: Annotated[int, typer.Option(help="gRPC port of the model server.", min=1, max=65535)] = 8500,
    home: Home,
    batch: Annotated[
        Sharing, typer.Option(help="Whether requests share runs: checked (if rows are independent), always or never.")
    ] = "checked",
) -> None:
    """Serve any SavedModels, in TensorFlow Serving's folder layout: no queue, no training."""
    from modelyard.services.cli.commands.local.serve import ServeOptions
    from modelyard.services.cli.commands.local.serve import serve as run

    if (models_dir is None) == (model_config is None):
        raise typer.BadParameter("expected one of --models-dir and --model-config")
    found, config = models_dir and models_dir.resolve(), model_config and model_config.resolve()
    run(ServeOptions(home.resolve() / "serve", port, serving_port, found, config, batch))


@app.command("plan-batches")
def plan_batches(
    model: str,
    *,
    latency_ms: Annotated[float, typer.Option(help="Maximum of the 99th percentile of latency.", min=0.1)] = 50.0,
    version: Annotated[int | None, typer.Option(help="A version other than the stable one.")] = None,
    home: Home,
    serving: Annotated[str, typer.Option(help="gRPC address of the model server.")] = "127.0.0.1:8500",
    seconds: Annotated[float, typer.Option(help="Time for each batch size.", min=0.1, max=60)] = 2.0,
) -> None:
    """Measure batch sizes on this machine, and record the largest within a latency."""
    from modelyard.services.cli.commands.plan_batches import plan_batches as run

    run(Store(home.resolve() / "store"), model, version, serving, latency_ms, seconds)


@app.command()
def train(
    model: str,
    *,
    recipe: Annotated[str, typer.Option(help="quick or full.")] = "quick",
    set_: Overrides = None,
    data: Data = "auto",
    rollout: Annotated[
        RolloutTarget,
        typer.Option(
            help="stable: promote; canary: 10 % of the requests first; manual: publish only; none: do not publish."
        ),
    ] = "stable",
    priority: Annotated[Priority, typer.Option(help="Priority in the queue.")] = "normal",
    budget: Annotated[float | None, typer.Option(help="Maximum seconds of training.", metavar="SECONDS")] = None,
    with_feedback: Annotated[bool, typer.Option("--with-feedback", help="Train on feedback too.")] = False,
    search: Annotated[
        int | None, typer.Option(help="Search the model's ranges, at low priority.", min=2, max=100, metavar="TRIALS")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search: equal seeds try equal values.", min=0)] = 0,
    promote_best: Annotated[
        bool, typer.Option("--promote-best", help="Promote the best version of the search.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job ends.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a training job, or a search over many of them."""
    client = Client(url)
    request = {"model": model, "recipe": recipe, "overrides": parse_overrides(set_ or []), "data": data}
    if search is not None:
        searching = {"trials": search, "seed": seed, "promote_best": promote_best}
        searches.submit_search(
            client, request | searching | {"budget_s": budget, "with_feedback": with_feedback}, wait=wait
        )
        return
    order = {"rollout": rollout, "priority": priority, "budget_s": budget, "with_feedback": with_feedback}
    with output.doubt_on_interrupt("modelyard jobs"):
        job = client.submit(request | order)
    jobs.print_wait(job)
    if not wait:
        output.console.print(f"{job['id']} {job['state']}; see `modelyard jobs`")
        return
    from modelyard.services.cli.commands.jobs import exit_with_outcome
    from modelyard.services.cli.follow import follow_one

    exit_with_outcome(follow_one(client, job["id"]))


@app.command()
def predict(
    model: str,
    given: Annotated[
        str,
        typer.Argument(
            metavar="FILE|JSON|TEXT|-",
            help='An image, JSON, CSV or text file; a row such as {"age": 41}; a text; - for stdin.',
        ),
    ],
    *,
    version: Annotated[int | None, typer.Option(help="A version other than the stable one.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Get a prediction from a model."""
    standard_input = sys.stdin.buffer.read() if given == "-" else None
    output.console.print_json(
        data=Client(url).predict(model, *read_prediction_body(given, standard_input), version=version)
    )


@app.command()
def models(*, url: Url = DEFAULT_URL) -> None:
    """List served and trainable models."""
    found = Client(url).get("/api/models")
    served = {entry["name"]: entry for entry in found["models"]}
    rows: list[tuple[object, ...]] = []
    broken = {entry["name"]: entry["error"] for entry in found["broken"]}
    for name in sorted({*served, *found["trainable"], *broken}):
        entry = served.get(name, {})
        test = output.format_metric(entry["metric"]["name"], entry["metric"]["value"]) if entry.get("metric") else None
        data = output.format_dataset(entry["data"]) if entry.get("data") else None
        rows.append(
            (name, entry.get("stable"), test, data, broken.get(name) or entry.get("error") or entry.get("summary"))
        )
    output.print_table("model", "stable", "test", "dataset", "summary", rows=rows)


@app.command()
def versions(
    model: str,
    version: Annotated[int | None, typer.Argument(help="Show the decision record of this version.")] = None,
    *,
    url: Url = DEFAULT_URL,
) -> None:
    """List the versions of a model, or show the decision record of one."""
    if version is not None:
        rollouts.print_record(Client(url).get(f"/api/models/{model}/versions/{version}"))
        return
    found = Client(url).get(f"/api/models/{model}")
    stable = found["rollout"]["stable"]
    rows: list[tuple[object, ...]] = []
    for entry in reversed(found["versions"]):
        name = f"{entry['version']} (stable)" if entry["version"] == stable else entry["version"]
        if "error" in entry:
            rows.append((name, entry["state"], entry["error"]))
            continue
        rows.append((name, *rollouts.describe_version(entry)))
    output.print_table("version", "state", "test", "dataset", "recipe", "created (UTC)", rows=rows)


@app.command()
def doctor(
    *,
    home: Home,
    data_dir: DataDir,
    url: Url = DEFAULT_URL,
) -> None:
    """Check the installation, the store and the processes, and print how to fix what is wrong."""
    from modelyard.services.cli.commands.local.doctor import check_system

    findings = check_system(home.resolve(), (data_dir or home / "data").resolve(), url)
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in findings:
        output.console.print(f"[{colours[finding.level]}]{finding.level:<4}[/] {finding.message}")
        if finding.remedy:
            output.console.print(f"     {finding.remedy}", style="dim", markup=False)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Runs a command; an expected failure is one line and its exit code."""
    try:
        app()
    except ModelyardError as error:
        output.errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
