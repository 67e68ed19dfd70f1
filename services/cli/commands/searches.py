"""``modelyard searches``, and ``modelyard train --search``: many trials, of which the best is published."""

import time
from typing import Annotated, Any

import typer
from rich.console import Console

from modelyard.client import Client
from modelyard.services.cli import output
from modelyard.services.cli.commands.jobs import print_job, print_wait
from modelyard.services.cli.gateway import be_patient, connect
from modelyard.services.cli.options import AsJson, KeyFile, Url

app = typer.Typer(help="List searches, the newest first; show or cancel one.")

POLL_INTERVAL_S = 0.5
SearchId = Annotated[str, typer.Argument(metavar="SEARCH", help="Id, as listed by `modelyard searches`.")]


@app.callback(invoke_without_command=True)
def list_searches(context: typer.Context, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """List searches, the newest first; show or cancel one."""
    if context.invoked_subcommand:
        return
    body = connect(url, key_file).call("GET", "/api/searches")
    if as_json:
        output.print_json(body)
        return
    found = body["searches"]
    rows = [(each["id"], each["model"], each["asked"]["trials"], each["state"], each["reason"]) for each in found]
    output.print_table("search", "model", "trials", "state", "", rows=rows)


@app.command("show")
def show_search(search: SearchId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Show the results of a search's trials, by rung."""
    print_search(connect(url, key_file).searches.get(search).raw, as_json=as_json)


@app.command()
def cancel(search: SearchId, *, as_json: AsJson = False, url: Url, key_file: KeyFile = None) -> None:
    """Cancel a search and its jobs."""
    print_job(connect(url, key_file).searches.cancel(search).raw, as_json=as_json)


def submit_search(client: Client, request: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    """Submits a search; with ``wait``, prints rungs as they start, and ends with 0 if the search succeeded, else 1."""
    with output.doubt_on_interrupt("modelyard searches"):
        search: Any = client.searches.submit(**request).raw
    print_wait(search)
    if not wait:
        print_job(search, as_json=as_json, hint=f"; see `modelyard searches show {search['id']}`")
        return
    from modelyard.services.cli.follow import say_what_goes_on

    number = search["id"]
    commands = f"`modelyard searches show {number}` shows it, `modelyard searches cancel {number}` ends it"
    with say_what_goes_on("search", number, commands):
        search = follow_search(client, search, output.errors if as_json else output.console)
    print_search(search, as_json=as_json)
    if search["state"] != "succeeded":
        raise typer.Exit(1)


def follow_search(client: Client, search: Any, console: Console) -> Any:
    """Prints the rungs of a search as they start; returns it when it has ended."""
    started = 0
    while not search["finished_at"]:
        time.sleep(POLL_INTERVAL_S)
        search = be_patient(client).searches.get(search["id"]).raw
        for rung in [rung for rung in search["rungs"] if rung["tried"]][started:]:
            console.print(f"trials: {rung['trials']}, epochs: {rung['epochs']}", markup=False)
            started += 1
    return search


def print_search(search: Any, *, as_json: bool) -> None:
    """The trials and their results."""
    if as_json:
        output.print_json(search)
        return
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
