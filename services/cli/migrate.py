"""``modelyard migrate``: the ledger's tables, for databases that processes do not migrate by themselves."""

from contextlib import closing

from services.cli import show
from services.ledger import Ledger
from services.settings import ServiceSettings, masked


def migrate() -> None:
    """Make the ledger's tables, or bring them up to date: once before a release's processes start."""
    settings = ServiceSettings.load()
    with closing(Ledger(settings.ledger)) as ledger:
        ledger.migrate()
    show.console.print(f"{masked(settings.ledger_url)} is up to date", markup=False, soft_wrap=True)
