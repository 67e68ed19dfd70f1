"""The ``modelyard`` command."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import Store
from modelyard.pipeline.job import DataPolicy, RolloutTarget, parse_overrides
from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client, body_of
from modelyard.services.cli.commands import jobs, keys, rollouts, searches, triggers
from modelyard.services.cli.commands.gc import gc
from modelyard.services.cli.commands.migrate import migrate
from modelyard.services.cli.options import DEFAULT_URL, Url
from modelyard.services.settings import HOME

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

FIRST_MODELS = ("mnist_cnn", "sentiment_lstm")

Sharing = Literal["checked", "always", "never"]
Priority = Literal["high", "normal", "low"]
Home = Annotated[Path, typer.Option(envvar="MODELYARD_HOME", help="Folder that holds everything.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Recipe value as key=value; may be repeated.")]
Data = Annotated[DataPolicy, typer.Option(help="auto: the real data, else the shipped sample.")]
app.add_typer(jobs.app, name="jobs")
app.add_typer(searches.app, name="searches")
app.add_typer(triggers.app, name="triggers")
app.add_typer(keys.app, name="keys")
for command in (rollouts.promote, rollouts.rollback, rollouts.rollout, gc, migrate):
    app.command()(command)


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
    home: Home = HOME,
    data_dir: Annotated[Path | None, typer.Option(envvar="MODELYARD_DATA_DIR", help="Folder of the datasets.")] = None,
    port: Annotated[int, typer.Option(help="Port of the gateway.", min=1, max=65535)] = 8080,
    serving_port: Annotated[int, typer.Option(help="gRPC port of the model server.", min=1, max=65535)] = 8500,
    workers: Annotated[
        int, typer.Option(help="Training jobs at the same time; 0: one per processor, two at most.", min=0, max=64)
    ] = 0,
    model: Annotated[list[str] | None, typer.Option(help="Model to train and serve; may be repeated.")] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of the first versions.")] = "quick",
    data: Data = "auto",
) -> None:
    """Start the whole system here, train what is missing, and serve until Ctrl-C."""
    from modelyard.services.cli.commands.up import Local
    from modelyard.services.cli.commands.up import up as run

    models = model or list(FIRST_MODELS)
    for name in models:
        check_model(name)
    home = home.resolve()
    folder = (data_dir or home / "data").resolve()
    run(Local(home, folder, port, serving_port, workers or min(2, os.cpu_count() or 1)), models, recipe, data)


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
    home: Home = HOME,
    batch: Annotated[
        Sharing, typer.Option(help="Whether requests share runs: once rows were found independent, always, or never.")
    ] = "checked",
) -> None:
    """Serve any SavedModels, in TensorFlow Serving's folder layout: no queue, no training."""
    from modelyard.services.cli.commands.serve import Serve
    from modelyard.services.cli.commands.serve import serve as run

    if (models_dir is None) == (model_config is None):
        raise typer.BadParameter("expected one of --models-dir and --model-config")
    found, config = models_dir and models_dir.resolve(), model_config and model_config.resolve()
    run(Serve(home.resolve() / "serve", port, serving_port, found, config, batch))


@app.command("plan-batches")
def plan_batches(
    model: str,
    *,
    latency_ms: Annotated[float, typer.Option(help="Longest time that 99 of 100 calls may take.", min=0.1)] = 50.0,
    version: Annotated[int | None, typer.Option(help="A version other than the stable one.")] = None,
    home: Home = HOME,
    serving: Annotated[str, typer.Option(help="gRPC address of the model server.")] = "127.0.0.1:8500",
    seconds: Annotated[float, typer.Option(help="Time for each batch size.", min=0.1, max=60)] = 2.0,
) -> None:
    """Measure batch sizes here, and keep the best one that meets a latency."""
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
            help="stable: answers if it may; canary: a tenth, until judged; manual: publish only; none: not even."
        ),
    ] = "stable",
    priority: Annotated[Priority, typer.Option(help="Which of those who wait goes first.")] = "normal",
    budget: Annotated[float | None, typer.Option(help="Seconds that it may run.", metavar="SECONDS")] = None,
    with_feedback: Annotated[bool, typer.Option("--with-feedback", help="Train on feedback, too.")] = False,
    search: Annotated[
        int | None, typer.Option(help="Search the model's ranges, at low priority.", min=2, max=100, metavar="TRIALS")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search: the same one tries the same values.", min=0)] = 0,
    promote_best: Annotated[bool, typer.Option("--promote-best", help="Let the search's best answer.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress and end with the job.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Queue a training job, or a search: many of them, of which the best is kept."""
    client = Client(url)
    asked = {"model": model, "recipe": recipe, "overrides": parse_overrides(set_ or []), "data": data}
    if search is not None:
        searching = {"trials": search, "seed": seed, "promote_best": promote_best}
        searches.ask(client, asked | searching | {"budget_s": budget, "with_feedback": with_feedback}, wait=wait)
        return
    order = {"rollout": rollout, "priority": priority, "budget_s": budget, "with_feedback": with_feedback}
    job = client.submit(asked | order)
    if not wait:
        show.console.print(f"{job['id']} {job['state']}; see `modelyard jobs`")
        return
    from modelyard.services.cli.commands.jobs import end_like
    from modelyard.services.cli.follow import follow

    (ended,) = follow(client, [job["id"]])
    end_like(ended)


@app.command()
def predict(
    model: str,
    given: Annotated[
        str, typer.Argument(metavar="FILE|TEXT|-", help="An image, JSON or text file; a text; - for stdin.")
    ],
    *,
    version: Annotated[int | None, typer.Option(help="A version other than the serving one.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Ask a model for an answer."""
    standard_input = sys.stdin.buffer.read() if given == "-" else None
    show.console.print_json(data=Client(url).predict(model, *body_of(given, standard_input), version=version))


@app.command()
def models(*, url: Url = DEFAULT_URL) -> None:
    """List what is served and what can be trained."""
    listed = Client(url).get("/api/models")
    served = {entry["name"]: entry for entry in listed["models"]}
    rows: list[tuple[object, ...]] = []
    for name in sorted({*served, *listed["trainable"]}):
        entry = served.get(name, {})
        test = show.metric(entry["metric"]["name"], entry["metric"]["value"]) if entry.get("metric") else None
        data = show.dataset(entry["data"]) if entry.get("data") else None
        rows.append((name, entry.get("stable"), test, data, entry.get("error") or entry.get("summary")))
    show.table("model", "stable", "test", "dataset", "what", rows=rows)


@app.command()
def versions(
    model: str,
    version: Annotated[int | None, typer.Argument(help="Show the decision record of this one.")] = None,
    *,
    url: Url = DEFAULT_URL,
) -> None:
    """List the versions of a model, or show where one came from and what was decided about it."""
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
        test = show.metric(entry["verdict"]["metric"], entry["verdict"]["value"])
        created = entry["created_at"][:19].replace("T", " ")
        rows.append((name, entry["state"], test, show.dataset(entry["data"]), entry["recipe"]["name"], created))
    show.table("version", "state", "test", "dataset", "recipe", "created (UTC)", rows=rows)


@app.command()
def doctor(
    *,
    home: Home = HOME,
    data_dir: Annotated[Path | None, typer.Option(envvar="MODELYARD_DATA_DIR")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Say what is installed, what listens where, what is wrong and how to mend it."""
    from modelyard.services.cli.commands.doctor import examine

    findings = examine(home.resolve(), (data_dir or home / "data").resolve(), url)
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in findings:
        show.console.print(f"[{colours[finding.level]}]{finding.level:<4}[/] {finding.what}")
        if finding.mend:
            show.console.print(f"     {finding.mend}", style="dim", markup=False)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)


def check_model(name: str) -> None:
    """Raises ``UnknownName`` with the closest names."""
    from modelyard.models.catalog import describe_unknown, list_models
    from modelyard.models.errors import UnknownName

    if name not in list_models():
        raise UnknownName(describe_unknown("model", name, list_models()))


def main() -> None:
    """Runs a command; an expected failure is one line and its exit code."""
    try:
        app()
    except ModelyardError as error:
        show.errors.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
