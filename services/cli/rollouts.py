"""``modelyard promote``, ``rollback`` and ``rollout``: which version answers."""

from typing import Annotated, Any

import typer

from services.cli import show
from services.cli.client import Client
from services.cli.options import DEFAULT_URL, Url

Reason = Annotated[str, typer.Option(help="Kept in the model's history.")]


def promote(
    model: str,
    version: int,
    *,
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Overrule the gate; needs a reason.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Let a version answer, once it gives the answers that it gave in training."""
    asked = {"version": version, "reason": reason, "force": force}
    print_stable(model, Client(url).post(f"/api/models/{model}:promote", asked))


def rollback(model: str, *, reason: Reason = "", url: Url = DEFAULT_URL) -> None:
    """Let the version before answer again, at once."""
    print_stable(model, Client(url).post(f"/api/models/{model}:rollback", {"reason": reason}))


def rollout(model: str, *, url: Url = DEFAULT_URL) -> None:
    """Show which version answers, and who decided what, the newest first."""
    found = Client(url).get(f"/api/models/{model}/rollout")
    print_stable(model, found)
    rows = [
        (change["at"][:19].replace("T", " "), change["action"], change["version"], change["by"], told(change))
        for change in found["history"]
    ]
    show.table("when (UTC)", "what", "version", "by", "why", rows=rows)


def told(change: dict[str, Any]) -> str:
    """What a person said, or else what was found."""
    return str(change["detail"].get("why") or change["reason"])


def print_stable(model: str, found: dict[str, Any]) -> None:
    kept = ", ".join(map(str, found["keep"]))
    show.console.print(f"{model}: version {found['stable']} answers" + (f"; also loaded: {kept}" if kept else ""))
