"""``modelyard import``: brings in a model that was trained elsewhere."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from modelyard.models import backend
from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.pools import ServingPools
from modelyard.pipeline.job_options import REJECTED_EXIT_CODE
from modelyard.services.cli import output
from modelyard.services.cli.options import AsJson, Home, name_author
from modelyard.services.cli.processes.launch import find_servers
from modelyard.services.settings import LOCAL, StoreSettings


class TrainerMissing(ModelyardError):
    """This installation cannot load models."""


def import_model(
    name: Annotated[str, typer.Argument(help="Name of the model: its folder in the store, and in addresses.")],
    path: Annotated[
        Path, typer.Argument(metavar="DIR", help="A SavedModel's folder, or a .keras file that you trust.")
    ],
    *,
    labels: Annotated[
        str | None, typer.Option(help="Names of the classes in order: a,b,c or a file with one a line.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option(help="Test data, .npz, .csv or .jsonl: the model's inputs by name, and the target.")
    ] = None,
    target: Annotated[str, typer.Option(help="Column of the test data with the truth.")] = "y",
    signature: Annotated[
        str | None, typer.Option(help="Signature to measure, if it has no serving_default.", metavar="NAME")
    ] = None,
    output_: Annotated[
        str | None, typer.Option("--output", help="Output that predicts, where several would do.", metavar="NAME")
    ] = None,
    canary: Annotated[
        float, typer.Option(help="Percent of the requests, if a version serves already.", min=0, max=100)
    ] = 10.0,
    pool: Annotated[
        str, typer.Option(help="Pool of model servers for it; where it is, or the default one, if not set.")
    ] = "",
    manual: Annotated[bool, typer.Option("--manual", help="Publish it, and leave its role to a person.")] = False,
    home: Home,
    store: Annotated[
        Path | None, typer.Option(envvar="MODELYARD_STORE", help="Folder of the model store, if not in --home.")
    ] = None,
    serving: Annotated[
        str | None,
        typer.Option(
            envvar="MODELYARD_SERVING",
            help="gRPC addresses of all model servers, separated by commas; found if `modelyard up` runs on --home.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import a SavedModel that was trained elsewhere: checked, measured, published and rolled out as any version."""
    if backend.tensorflow_version() is None:
        raise TrainerMissing("import loads the model, which needs TensorFlow: pip install 'modelyard[trainer]'")
    from modelyard.pipeline.import_model import ImportJob, import_model
    from modelyard.pipeline.job import Rejected, describe_published
    from modelyard.pipeline.processes.forkserver import ForkServer

    home = home.resolve()
    job = ImportJob(
        model=name,
        path=path,
        by=name_author(),
        labels=read_labels(labels) if labels else (),
        test=test,
        target=target,
        signature=signature,
        output=output_,
        percent=canary,
        manual=manual,
        pool=pool,
    )
    settings = StoreSettings.load(store=store.resolve() if store else home / "store")
    pools = find_pools(settings, serving, home)
    with output.errors.status(f"importing {name}") as status, ForkServer() as forks:
        outcome = import_model(
            job,
            settings.open_store(),
            pools,
            forks,
            lambda progress: status.update(f"{progress.stage}: {progress.message}".replace("[", r"\[")),
        )
    if isinstance(outcome, Rejected):
        output.errors.print(
            f"rejected: {'; '.join(outcome.verdict.reasons)}", style="red", markup=False, soft_wrap=True
        )
        if as_json:
            output.print_json({"model": name, "state": outcome.state, "verdict": outcome.verdict.model_dump()})
        raise typer.Exit(REJECTED_EXIT_CODE)
    if as_json:
        output.print_json({"model": name, **describe_published(outcome)})
        return
    manifest, promotion = outcome.manifest, outcome.promotion
    share = f"answers {promotion.percent:g} % of the requests" if promotion.promoted else "has no role"
    for line in (
        f"{name} version {manifest.version} is published: {'; '.join(manifest.verdict.reasons)}",
        f"it {share}: {promotion.reason}",
    ):
        output.console.print(line, markup=False, soft_wrap=True)


def find_pools(settings: StoreSettings, serving: str | None, home: Path) -> ServingPools:
    """Every model server, and files of the connections; of the default pool those that are named, or that run here.

    Raises:
        InvalidSettings: one is on another machine, would be spoken to without TLS, and nobody has said that it may be.
    """
    servers = split_addresses(serving) if serving and serving != LOCAL else find_servers(home)
    settings.require_protected(settings.list_servers(servers))
    return settings.pools(servers, settings.serving_files)


def read_labels(given: str) -> tuple[str, ...]:
    """Names between commas, or the lines of a file."""
    path = Path(given)
    with suppress(OSError):  # a name too long for a path
        if path.is_file():
            return tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    return tuple(part.strip() for part in given.split(","))


def split_addresses(given: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip())
