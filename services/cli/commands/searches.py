"""``modelyard searches``, and ``modelyard train --search``: many trials, of which the best is kept."""

import time
from typing import Annotated, Any

import typer

from modelyard.services.cli import output as show
from modelyard.services.cli.client import Client
from modelyard.services.cli.options import DEFAULT_URL, Url

app = typer.Typer(help="List searches, the newest first; show or cancel one.")

POLL_S = 0.5
SearchId = Annotated[str, typer.Argument(metavar="SEARCH", help="As `modelyard searches` lists it.")]


@app.callback(invoke_without_command=True)
def listed(context: typer.Context, *, url: Url = DEFAULT_URL) -> None:
    """List searches, the newest first; show or cancel one."""
    if context.invoked_subcommand:
        return
    found = Client(url).get("/api/searches")["searches"]
    rows = [(each["id"], each["model"], each["asked"]["trials"], each["state"], each["reason"]) for each in found]
    show.table("search", "model", "trials", "state", "", rows=rows)


@app.command("show")
def one(search: SearchId, *, url: Url = DEFAULT_URL) -> None:
    """Show what each trial reached, rung by rung."""
    print_search(Client(url).get(f"/api/searches/{search}"))


@app.command()
def cancel(search: SearchId, *, url: Url = DEFAULT_URL) -> None:
    """End a search with all its jobs."""
    found = Client(url).post(f"/api/searches/{search}:cancel")
    show.console.print(f"{found['id']} {found['state']}", markup=False)


def ask(client: Client, asked: dict[str, Any], *, wait: bool) -> None:
    """Asks for a search; with ``wait``, shows its rungs as they begin, and ends with 0 if it succeeded, else 1."""
    search = client.post("/api/searches", asked)
    if not wait:
        show.console.print(f"{search['id']} {search['state']}; see `modelyard searches show {search['id']}`")
        return
    begun = 0
    while not search["finished_at"]:
        time.sleep(POLL_S)
        search = client.get(f"/api/searches/{search['id']}")
        for rung in [rung for rung in search["rungs"] if rung["tried"]][begun:]:
            show.console.print(f"trials: {rung['trials']}, epochs: {rung['epochs']}", markup=False)
            begun += 1
    print_search(search)
    if search["state"] != "succeeded":
        raise typer.Exit(1)


def print_search(search: dict[str, Any]) -> None:
    """What was tried, and what came of it."""
    show.console.print(f"{search['model']}: {search['state']} {search['reason']}", markup=False, soft_wrap=True)
    rows = [
        (number, rung["epochs"], tried["trial"], value_of(tried), tried["state"], said(search, tried), tried["job"])
        for number, rung in enumerate(search["rungs"], start=1)
        for tried in sorted(rung["tried"], key=lambda tried: (tried["value"] is None, -(tried["value"] or 0)))
    ]
    show.table("rung", "epochs", "trial", search["metric"], "state", "values", "job", rows=rows)


def value_of(tried: dict[str, Any]) -> str | None:
    return None if tried["value"] is None else f"{tried['value']:.4f}"


def said(search: dict[str, Any], tried: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in search["values"][tried["trial"]].items())
