"""``modelyard gc``: deletes versions that nothing needs."""

from pathlib import Path
from typing import Annotated

import typer

from modelyard.models.registry import retention
from modelyard.models.registry.retention import find_removable, remove_version
from modelyard.models.registry.store import Store
from modelyard.services.cli import output
from modelyard.services.settings import HOME

MEGABYTE = 1e6


def gc(
    *,
    model: Annotated[list[str] | None, typer.Option(help="Only of this model; may be repeated.")] = None,
    keep: Annotated[int, typer.Option(help="Number of newest versions that always stay.", min=1)] = 5,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")] = False,
    home: Annotated[Path, typer.Option(envvar="MODELYARD_HOME", help="Folder of all files.")] = HOME,
) -> None:
    """Delete versions that have no role (stable, canary, shadow, label, kept for a rollback) and are not the newest."""
    store = Store(home.resolve() / "store")
    found = [each for name in model or store.models() for each in find_removable(store, name, keep)]
    for each in () if dry_run else found:
        remove_version(store, each.model, each.version, by="gc", reason=f"not among the newest {keep}")
    for name in () if dry_run else store.models():
        retention.clear_trash(store, name)
    rows = [(each.model, each.version, f"{each.size / MEGABYTE:.1f} MB") for each in found]
    if rows:
        output.print_table("model", "version", "would free" if dry_run else "freed", rows=rows)
    else:
        output.console.print("nothing to delete")
