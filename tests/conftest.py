"""For all tests: what is set around them says nothing about the code."""

import gc
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import make_url

from modelyard.services.ledger import Ledger
from tests.support.ledgers import new_ledger_file
from tests.support.postgres import Postgres, postgres
from tests.support.signals import keep_from_children

for variable in [name for name in os.environ if name.startswith("MODELYARD_") or name == "FORCE_COLOR"]:
    if variable != "MODELYARD_DATA_DIR":  # the rest is what whoever starts the tests has set for other things
        del os.environ[variable]
keep_from_children()


def pytest_collection_finish() -> None:
    """Exempts what imports and collected tests created from garbage collection: a tenth of the time went on it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(scope="session")
def migrated(postgres_server: Postgres) -> str:
    """URL of a database with all tables, which tests use one after another."""
    url = postgres_server.new_database()
    with closing(Ledger(url)) as ledger:
        ledger.migrate()
    return url


@pytest.fixture
def postgres_url(postgres_server: Postgres, migrated: str) -> str:
    """A ledger's as if it were new."""
    postgres_server.clear(cast("str", make_url(migrated).database))
    return migrated


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new ledger's, on each of the databases that it may be on."""
    if request.param == "sqlite":
        return f"sqlite:///{new_ledger_file(tmp_path / 'ledger.db')}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    with closing(Ledger(ledger_url)) as found:
        yield found
