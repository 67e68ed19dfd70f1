"""``modelyard migrate``: prepares ledger and store before a release's processes start."""

from contextlib import closing

from modelyard.models.registry.serving_set import prepare_config
from modelyard.services.cli import output
from modelyard.services.cli.options import AsJson
from modelyard.services.cli.settings import MigrationSettings, open_ledger
from modelyard.services.settings import mask_password


def migrate(*, as_json: AsJson = False) -> None:
    """Create or upgrade the ledger's tables and roles, and the store; before each start, as it checks files."""
    settings = MigrationSettings.load()
    store = settings.open_store()
    store.prepare()
    left_out = prepare_config(
        store, settings.serving_pools
    )  # TensorFlow Serving ends where the file is missing; one without models is fine
    output.report_left_out(left_out.versions)
    with closing(open_ledger(settings)) as ledger:
        ledger.migrate(settings.passwords)
    ledger_url = mask_password(settings.ledger_url)
    if as_json:
        output.print_json({"ledger": ledger_url, "store": str(store.root), "left_out": len(left_out.versions)})
    else:
        output.console.print(f"{ledger_url} and {store.root} are up to date", markup=False)
