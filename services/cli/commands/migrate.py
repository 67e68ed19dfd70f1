"""``modelyard migrate``: prepares ledger and store before a release's processes start."""

from contextlib import closing

from modelyard.models.registry import rollout
from modelyard.models.registry.store import Store
from modelyard.services.cli import output
from modelyard.services.cli.settings import MigrationSettings
from modelyard.services.ledger import Ledger
from modelyard.services.settings import mask_password


def migrate() -> None:
    """Create or upgrade the ledger's tables, its roles, and the store; once, before a release's processes start."""
    settings = MigrationSettings.load()
    store = Store(settings.store)
    store.prepare()
    with store.change_pointers():
        rollout.write_config(store)  # TensorFlow Serving ends where the file is missing; one without models is fine
    with closing(Ledger(settings.ledger)) as ledger:
        ledger.migrate(settings.passwords)
    output.console.print(
        f"{mask_password(settings.ledger_url)} and {store.root} are up to date", markup=False, soft_wrap=True
    )
