"""``modelyard searches``, and ``modelyard train --search``: many trials, of which the best is published."""

import time
from typing import Annotated, Any

import typer

from modelyard.services.cli import output
from modelyard.services.cli.client import Client
from modelyard.services.cli.commands.jobs import print_wait
from modelyard.services.cli.options import DEFAULT_URL, Url

app = typer.Typer(help="List searches, the newest first; show or cancel one.")

POLL_INTERVAL_S = 0.5
SearchId = Annotated[str, typer.Argument(metavar="SEARCH", help="Id, as listed by `modelyard searches`.")]


@app.callback(invoke_without_command=True)
def list_searches(context: typer.Context, *, url: Url = DEFAULT_URL) -> None:
    """List searches, the newest first; show or cancel one."""
    if context.invoked_subcommand:
        return
    found = Client(url).get("/api/searches")["searches"]
    rows = [(each["id"], each["model"], each["asked"]["trials"], each["state"], each["reason"]) for each in found]
    output.print_table("search", "model", "trials", "state", "", rows=rows)


@app.command("show")
def show_search(search: SearchId, *, url: Url = DEFAULT_URL) -> None:
    """Show the results of a search's trials, by rung."""
    print_search(Client(url).get(f"/api/searches/{search}"))


@app.command()
def cancel(search: SearchId, *, url: Url = DEFAULT_URL) -> None:
    """Cancel a search and its jobs."""
    found = Client(url).post(f"/api/searches/{search}:cancel")
    output.console.print(f"{found['id']} {found['state']}", markup=False)


def submit_search(client: Client, request: dict[str, Any], *, wait: bool) -> None:
    """Submits a search; with ``wait``, prints rungs as they start, and ends with 0 if the search succeeded, else 1."""
    with output.doubt_on_interrupt("modelyard searches"):
        search = client.post("/api/searches", request)
    print_wait(search)
    if not wait:
        output.console.print(f"{search['id']} {search['state']}; see `modelyard searches show {search['id']}`")
        return
    from modelyard.services.cli.follow import say_what_goes_on

    number = search["id"]
    commands = f"`modelyard searches show {number}` shows it, `modelyard searches cancel {number}` ends it"
    with say_what_goes_on("search", number, commands):
        search = follow_search(client, search)
    print_search(search)
    if search["state"] != "succeeded":
        raise typer.Exit(1)


def follow_search(client: Client, search: dict[str, Any]) -> dict[str, Any]:
    """Prints the rungs of a search as they start; returns it when it has ended."""
    started = 0
    while not search["finished_at"]:
        time.sleep(POLL_INTERVAL_S)
        search = client.get_with_retries(f"/api/searches/{search['id']}")
        for rung in [rung for rung in search["rungs"] if rung["tried"]][started:]:
            output.console.print(f"trials: {rung['trials']}, epochs: {rung['epochs']}", markup=False)
            started += 1
    return search


def print_search(search: dict[str, Any]) -> None:
    """The trials and their results."""
    output.console.print(f"{search['model']}: {search['state']} {search['reason']}", markup=False, soft_wrap=True)
    print_wait(search)
    rows = [
        (
            number,
            rung["epochs"],
            tried["trial"],
            format_value(tried),
            tried["state"],
            format_values(search, tried),
            tried["job"],
        )
        for number, rung in enumerate(search["rungs"], start=1)
        for tried in sorted(rung["tried"], key=lambda tried: (tried["value"] is None, -(tried["value"] or 0)))
    ]
    output.print_table("rung", "epochs", "trial", search["metric"], "state", "values", "job", rows=rows)


def format_value(tried: dict[str, Any]) -> str | None:
    return None if tried["value"] is None else f"{tried['value']:.4f}"


def format_values(search: dict[str, Any], tried: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in search["values"][tried["trial"]].items())
