"""``modelyard gc``: deletes versions that nothing needs."""

from pathlib import Path
from typing import Annotated

import typer

from modelyard.models.registry import retention
from modelyard.models.registry.retention import find_removable, remove_version
from modelyard.pipeline.event_files import RUNS, prune_runs
from modelyard.services.cli import output
from modelyard.services.cli.options import AsJson, Home
from modelyard.services.cli.settings import open_home_store

MEGABYTE = 1e6


def gc(
    *,
    model: Annotated[list[str] | None, typer.Option(help="Only of this model; may be repeated.")] = None,
    keep: Annotated[int, typer.Option(help="Number of newest versions that always stay.", min=1)] = 5,
    keep_runs: Annotated[int, typer.Option(help="Number of newest jobs whose TensorBoard files stay.", min=0)] = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")] = False,
    home: Home,
    as_json: AsJson = False,
) -> None:
    """Delete versions that have no role (stable, canary, shadow, label, kept for a rollback) and are not the newest."""
    store = open_home_store(home)
    found = [each for name in model or store.models() for each in find_removable(store, name, keep)]
    for each in () if dry_run else found:
        remove_version(store, each.model, each.version, by="gc", reason=f"not among the newest {keep}")
    for name in () if dry_run else store.models():
        retention.clear_trash(store, name)
        store.delete_abandoned(name)
    pruned = 0 if dry_run else prune_events(home.resolve() / "tensorboard", model, keep_runs)
    if as_json:
        removed = [{"model": each.model, "version": each.version, "bytes": each.size} for each in found]
        output.print_json({"versions": removed, "deleted": not dry_run, "jobs_pruned": pruned})
        return
    if pruned:
        output.console.print(f"TensorBoard files of {pruned} jobs deleted")
    rows = [(each.model, each.version, f"{each.size / MEGABYTE:.1f} MB") for each in found]
    if rows:
        output.print_table("model", "version", "would free" if dry_run else "freed", rows=rows)
    else:
        output.console.print("nothing to delete")


def prune_events(root: Path, models: list[str] | None, keep: int) -> int:
    """Deletes event files of old jobs, also of models without a version; of how many."""
    found = sorted(each.name for each in root.glob("*") if each.is_dir())
    return sum(prune_runs(root, name, keep) for name in found if not models or name in models)
