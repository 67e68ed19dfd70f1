"""``modelyard verify``: whether the audit trail and rollouts' histories are whole."""

from contextlib import closing
from typing import Annotated

import typer

from modelyard.services import audit as trail
from modelyard.services.cli import output
from modelyard.services.cli.options import AsJson, name_author
from modelyard.services.cli.settings import open_ledger
from modelyard.services.scheduler.settings import SchedulerSettings

NO_REASON = "accepted by an operator"


def verify(
    *,
    accept: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Accept this model's history as it is now; the trail says so.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why it is accepted.")] = NO_REASON,
    as_json: AsJson = False,
) -> None:
    """Check that nothing in the audit trail and the rollouts' histories was changed, removed or reordered.

    Runs where the ledger and the model store are.
    """
    settings = SchedulerSettings.load()
    store = settings.open_store()
    with closing(open_ledger(settings)) as ledger:
        if accept is not None:
            trail.accept_history(store, ledger, accept, name_author(), reason)
        found = list(trail.verify(store, ledger))
    if as_json:
        chains = [
            {"chain": each.name, "entries": each.head.count, "last_hash": each.head.digest, "fault": each.fault}
            for each in found
        ]
        output.print_json({"chains": chains})
    else:
        rows = [(each.name, each.head.count, each.head.digest[:16], each.fault or "whole") for each in found]
        output.print_table("chain", "entries", "last hash", "", rows=rows)
    if any(each.fault for each in found):
        raise typer.Exit(1)
