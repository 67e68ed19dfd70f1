"""``modelyard up``, ``serve``, ``plan-batches`` and ``doctor``: their options."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from modelyard.services.cli import output
from modelyard.services.cli.commands.training import Data
from modelyard.services.cli.options import AsJson, DataDir, Home, KeyFile, Models, Port, Url, Workers

Sharing = Literal["checked", "always", "never"]
ServingPort = Annotated[
    int | None,
    typer.Option(
        help="gRPC port of the model server; 8500, unless it has no process of its own: then none is open without it.",
        min=1,
        max=65535,
    ),
]
Isolated = Annotated[
    bool | None,
    typer.Option(
        "--isolated/--one-process",
        help="Whether the model server gets a process of its own.",
        show_default="--isolated with several gateways, or MODELYARD_KEY_SECRET; else --one-process",
    ),
]


def up(
    *,
    home: Home,
    data_dir: DataDir,
    port: Port,
    serving_port: ServingPort = None,
    isolated: Isolated = None,
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
    from modelyard.models.sources.files import Sources
    from modelyard.services.cli.commands.local.up import LocalSystem
    from modelyard.services.cli.commands.local.up import up as run
    from modelyard.services.cli.processes import launch
    from modelyard.services.cli.project.catalog import choose_models
    from modelyard.services.cli.project.settings import check_project

    check_project()
    sources = Sources(tuple(models)).resolve()
    chosen = choose_models(sources, model or ())
    home = home.resolve()
    folder = (data_dir or home / "data").resolve()
    workers = workers or min(2, os.cpu_count() or 1)
    apart = launch.choose_isolation(isolated)
    serving_port = launch.choose_serving_port(serving_port, isolated=apart)
    run(LocalSystem(home, folder, port, serving_port, workers, sources, apart), chosen, recipe, data)


def serve(
    *,
    models_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of SavedModels: DIR/NAME/VERSION.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="ModelServerConfig in text format.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the gateway.", min=1, max=65535)] = 8080,
    serving_port: ServingPort = None,
    isolated: Isolated = None,
    home: Home,
    workers: Annotated[
        int, typer.Option(help="Gateways that share the port, each with an event loop of its own.", min=1, max=64)
    ] = 1,
    batch: Annotated[
        Sharing, typer.Option(help="Whether requests share runs: checked (if rows are independent), always or never.")
    ] = "checked",
) -> None:
    """Serve any SavedModels, in TensorFlow Serving's folder layout: no queue, no training."""
    from modelyard.services.cli.commands.local.serve import ServeOptions
    from modelyard.services.cli.commands.local.serve import serve as run
    from modelyard.services.cli.processes import launch

    if (models_dir is None) == (model_config is None):
        raise typer.BadParameter("expected one of --models-dir and --model-config")
    found, config = models_dir and models_dir.resolve(), model_config and model_config.resolve()
    apart = launch.choose_isolation(isolated, gateways=workers)
    if not apart and workers > 1:
        raise typer.BadParameter("--one-process has one gateway; --workers needs --isolated")
    serving_port = launch.choose_serving_port(serving_port, isolated=apart)
    run(ServeOptions(home.resolve() / "serve", port, serving_port, apart, found, config, batch, workers))


def plan_batches(
    model: Annotated[
        str | None, typer.Argument(help="Model; with --serving-file all that have a stable version, unless named.")
    ] = None,
    *,
    latency_ms: Annotated[float, typer.Option(help="Maximum of the 99th percentile of latency.", min=0.1)] = 50.0,
    version: Annotated[int | None, typer.Option(help="A version other than the stable one.")] = None,
    home: Home,
    serving: Annotated[
        str | None,
        typer.Option(
            help="gRPC address of the model server; found if `modelyard up` runs on --home.",
            show_default="127.0.0.1:8500",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Time for each batch size, or each load of each candidate.", min=0.1, max=60)
    ] = 2.0,
    serving_file: Annotated[
        Path | None,
        typer.Option(
            help="Measure flags of TensorFlow Serving instead, with model servers started for it, and write this "
            "BatchingParameters file.",
        ),
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(help="CPUs of these model servers.", show_default="those of this machine")
    ] = None,
    extrapolate: Annotated[
        list[int] | None,
        typer.Option(help="Write a file for so many CPUs, too, extrapolated; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure batch sizes on this machine, and record the largest within a latency; or a model server's flags."""
    if serving_file is not None:
        if serving is not None:
            raise typer.BadParameter("--serving-file starts its own model servers; leave out --serving")
        wanted = ServingFileOptions(serving_file, cpus, tuple(extrapolate or ()), latency_ms, seconds)
        plan_serving_file(home, model, version, wanted, as_json=as_json)
        return
    if cpus is not None or extrapolate:
        raise typer.BadParameter("--cpus and --extrapolate are for --serving-file")
    if model is None:
        raise typer.BadParameter("expected a model, or --serving-file")
    from modelyard.services.cli.commands.batching.plan_batches import plan_batches as run
    from modelyard.services.cli.commands.batching.plan_batches import print_plan
    from modelyard.services.cli.processes.launch import LOOPBACK, SERVING_PORT, find_servers
    from modelyard.services.cli.settings import ConnectionSettings, open_home_store

    (address,) = [serving] if serving else find_servers(home) or [f"{LOOPBACK}:{SERVING_PORT}"]
    settings = ConnectionSettings.load()
    settings.require_protected([address])
    plan = run(open_home_store(home), model, version, address, latency_ms, seconds, settings.serving_files)
    if as_json:
        output.print_json({"model": model, **plan.model_dump(mode="json")})
    else:
        print_plan(plan, model)


@dataclass(frozen=True)
class ServingFileOptions:
    """Of ``plan-batches --serving-file``."""

    path: Path
    cpus: int | None
    extrapolate: tuple[int, ...]
    latency_ms: float
    seconds: float

    def as_command(self, model: str | None, version: int | None, cpus: int) -> tuple[str, ...]:
        """The command that repeats it, but for the home."""
        return (
            *("modelyard", "plan-batches", *((model,) if model else ())),
            *(("--version", str(version)) if version else ()),
            *("--serving-file", self.path.name, "--cpus", str(cpus)),
            *(part for each in self.extrapolate for part in ("--extrapolate", str(each))),
            *("--latency-ms", f"{self.latency_ms:g}", "--seconds", f"{self.seconds:g}"),
        )


def plan_serving_file(
    home: Path, model: str | None, version: int | None, wanted: ServingFileOptions, *, as_json: bool
) -> None:
    """Measures, writes and prints."""
    from modelyard.services.cli.commands.batching.serving_flags import (
        Plan,
        choose_cpus,
        choose_versions,
        print_report,
        write_serving_files,
    )
    from modelyard.services.cli.settings import open_home_store

    cpus = choose_cpus(wanted.cpus, wanted.extrapolate)
    store = open_home_store(home)
    versions = choose_versions(store, model, version)
    command = wanted.as_command(model, version, cpus)
    plan = Plan(store, versions, cpus, wanted.extrapolate, wanted.path, wanted.latency_ms, wanted.seconds, command)
    report = write_serving_files(plan)
    if as_json:
        output.print_json({"files": {str(path): number for number, path in plan.paths.items()}, **asdict(report)})
    else:
        print_report(plan, report)


def doctor(
    *,
    home: Home,
    data_dir: DataDir,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Check the installation, the store and the processes, and print how to fix what is wrong."""
    from modelyard.services.cli.commands.local.doctor import check_system

    findings = check_system(home.resolve(), (data_dir or home / "data").resolve(), url, key_file)
    if as_json:
        output.print_json({"findings": [asdict(finding) for finding in findings]})
    colours = {"ok": "green", "note": "yellow", "bad": "red"}
    for finding in () if as_json else findings:
        output.console.print(f"[{colours[finding.level]}]{finding.level:<4}[/] {finding.message}")
        if finding.remedy:
            output.console.print(f"     {finding.remedy}", style="dim", markup=False)
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)
