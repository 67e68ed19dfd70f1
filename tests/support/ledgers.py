"""Empty ledgers of tests: copies of one that was migrated once, which takes a hundredth of the time."""

import shutil
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from modelyard.services.ledger import Ledger
from modelyard.services.settings import make_sqlite_url


@cache
def migrate_one() -> "TemporaryDirectory[str]":
    """A folder with a migrated ``ledger.db``; it lives as long as this process."""
    folder = TemporaryDirectory(prefix="modelyard-ledger-")
    with closing(Ledger(make_sqlite_url(Path(folder.name)))) as ledger:
        ledger.migrate()
    return folder


def new_ledger_file(file: Path) -> Path:
    """Makes ``file`` an empty ledger on SQLite, with all tables; returns it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(Path(migrate_one().name, "ledger.db"), file))
