"""``modelyard audit``: who did what, over the gateway's HTTP API."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from modelyard.services.cli import output
from modelyard.services.cli.gateway import connect
from modelyard.services.cli.options import AsJson, KeyFile, Url

Kind = Literal["job", "search", "trigger", "rollout", "version", "key", "denied", "audit"]
Outcome = Literal["done", "requested", "denied"]
"""As the ledger has them, which takes longer to import than the whole command."""


def audit(
    *,
    kind: Annotated[Kind | None, typer.Option(help="Only entries of this kind.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only entries with this outcome.")] = None,
    by: Annotated[str | None, typer.Option(help="Only what this key, person or part of the system did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, such as promote.")] = None,
    model: Annotated[str | None, typer.Option(help="Only about this model.")] = None,
    version: Annotated[int | None, typer.Option(help="Only about this version.", min=1)] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this job, search, trigger or key.")] = None,
    since: Annotated[str | None, typer.Option(help="Only entries of this time or later.", metavar="TIME")] = None,
    until: Annotated[str | None, typer.Option(help="Only entries before this time.", metavar="TIME")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of entries.", min=1, max=500)] = 50,
    before: Annotated[str | None, typer.Option(help="Only entries behind this one.", metavar="ENTRY")] = None,
    as_json: AsJson = False,
    url: Url,
    key_file: KeyFile = None,
) -> None:
    """List who did what, the newest first."""
    plain: dict[str, Any] = {
        "by": by,
        "action": action,
        "model": model,
        "version": version,
        "subject": subject,
        "limit": limit,
    }
    chosen = {"kind": kind, "outcome": outcome, "since": since, "until": until, "before": before}
    found = connect(url, key_file).call("GET", "/api/audit", **plain, **chosen)
    if as_json:
        output.print_json(found)
        return
    rows = [describe_entry(entry) for entry in found["entries"]]
    output.print_table("entry", "at (UTC)", "by", "action", "outcome", "about", "detail", rows=rows)
    if found["next"]:
        output.console.print(f"more with --before {found['next']}", markup=False)


def describe_entry(entry: Mapping[str, Any]) -> tuple[object, ...]:
    """The cells of one entry."""
    about = [str(entry[name]) for name in ("model", "version", "subject") if entry[name] is not None]
    detail = entry["detail"].get("reason") or ""
    at = entry["at"][:19].replace("T", " ")
    return entry["id"], at, entry["by"] or "-", entry["action"], entry["outcome"], " ".join(about), detail
