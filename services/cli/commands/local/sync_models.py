"""``modelyard sync-models``: follows the bucket of the model store with this machine's folder."""

from typing import Annotated

import typer

from modelyard.models.registry.sharing.moving import move_store
from modelyard.services.cli import output
from modelyard.services.cli.options import Home
from modelyard.services.sync.process import open_shared, run
from modelyard.services.sync.settings import SyncSettings


def sync_models(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End after one pass; with 1 if a version could not be brought here.")
    ] = False,
    served_only: Annotated[
        bool | None,
        typer.Option("--served-only/--all", help="Bring only versions that have a role in a rollout, or all of them."),
    ] = None,
    move: Annotated[
        bool,
        typer.Option("--move", help="Upload what this folder has first: a store of its own moves into the bucket."),
    ] = False,
    home: Home,
) -> None:
    """Bring verified versions and rollouts from the bucket of MODELYARD_STORE_URL, as they change, until Ctrl-C."""
    given = {} if served_only is None else {"sync_served_only": served_only}
    settings = SyncSettings.load(home=home.resolve(), **given)
    if move:
        moved = move_store(open_shared(settings))
        output.console.print(f"{moved} versions of {settings.store} are in {settings.store_url} now", markup=False)
    raise typer.Exit(run(settings, once=once))
