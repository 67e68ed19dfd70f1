"""``modelyard models``, ``versions`` and ``card``: what is served, what can be trained, and every version."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from modelyard.models.errors import UnknownName
from modelyard.models.types import DEFAULT_POOL
from modelyard.services.cli import output
from modelyard.services.cli.commands import rollouts
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url


def models(*, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """List served and trainable models."""
    found = connect(url, key_file).models.list().raw
    if as_json:
        output.print_json(found)
        return
    served = {entry["name"]: entry for entry in found["models"]}
    pooled = any(entry.get("pool", DEFAULT_POOL) != DEFAULT_POOL for entry in served.values())
    rows: list[tuple[object, ...]] = []
    broken = {entry["name"]: entry["error"] for entry in found["broken"]}
    for name in sorted({*served, *found["trainable"], *broken}):
        entry = served.get(name, {})
        test = output.format_metric(entry["metric"]["name"], entry["metric"]["value"]) if entry.get("metric") else None
        data = output.format_dataset(entry["data"]) if entry.get("data") else None
        summary = broken.get(name) or entry.get("error") or entry.get("summary")
        pool = (entry.get("pool"),) if pooled else ()
        rows.append((name, entry.get("stable"), *pool, test, data, summary))
    output.print_table("model", "stable", *(("pool",) if pooled else ()), "test", "dataset", "summary", rows=rows)


def versions(
    model: str,
    version: Annotated[int | None, typer.Argument(help="Show the decision record of this version.")] = None,
    *,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """List the versions of a model, or show the decision record of one."""
    client = connect(url, key_file)
    found = client.models.get(model).raw if version is None else client.models.version(model, version)
    if as_json:
        output.print_json(found)
        return
    if version is not None:
        rollouts.print_record(dict(found))
        return
    stable = found["rollout"]["stable"]
    rows: list[tuple[object, ...]] = []
    for entry in reversed(found["versions"]):
        name = f"{entry['version']} (stable)" if entry["version"] == stable else entry["version"]
        if "error" in entry:
            rows.append((name, entry["state"], entry["error"]))
            continue
        rows.append((name, *rollouts.describe_version(entry)))
    output.print_table("version", "state", "test", "dataset", "recipe", "created (UTC)", rows=rows)


def card(
    model: str,
    version: Annotated[
        int | None, typer.Argument(help="Of this version; of the stable one, or the newest, without it.")
    ] = None,
    *,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """Show a version's model card: what it was made for, what it does on kinds of input, where it fails."""
    client = connect(url, key_file)
    chosen = choose_version(client.models.get(model).raw, model) if version is None else version
    if as_json:
        output.print_json(client.models.card(model, chosen))
    else:
        typer.echo(client.models.card_text(model, chosen), nl=False)


def choose_version(found: Mapping[str, Any], model: str) -> int:
    """The stable version, or the newest; raises ``UnknownName`` for a model that has none here."""
    numbers = [each["version"] for each in found["versions"]]
    if found["is_foreign"] or not numbers:
        raise UnknownName(f"{model} has no model card: only the model servers know it")
    stable: int | None = found["rollout"]["stable"]
    return max(numbers) if stable is None else stable
