"""The ledger's tables: made by migrations, which bring those of an earlier release up to date with all they hold."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from models.errors import StorageFailed
from services.ledger import Ledger, State, schema
from services.ledger.tables import Table, open_engine

BEFORE_MIGRATIONS = """
CREATE TABLE jobs (id VARCHAR NOT NULL PRIMARY KEY, model VARCHAR NOT NULL, recipe VARCHAR NOT NULL, overrides JSON NOT
NULL, data VARCHAR NOT NULL, rollout VARCHAR NOT NULL, by VARCHAR NOT NULL, state VARCHAR NOT NULL, attempts INTEGER NOT
NULL, worker VARCHAR, lease_until DATETIME, created_at DATETIME NOT NULL, started_at DATETIME, finished_at DATETIME,
progress JSON NOT NULL, result JSON NOT NULL);
CREATE TABLE events (id INTEGER NOT NULL PRIMARY KEY, job_id VARCHAR NOT NULL REFERENCES jobs (id), at DATETIME NOT
NULL, kind VARCHAR NOT NULL, body JSON NOT NULL);
INSERT INTO jobs VALUES ('job-1', 'neuron', 'quick', '{}', 'auto', 'stable', 'ann', 'queued', 0, NULL, NULL,
'2026-11-01 12:00:00.000000', NULL, NULL, '{}', '{}');
INSERT INTO events VALUES (7, 'job-1', '2026-11-01 12:00:00.000000', 'state', '{"state": "queued"}');
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def ledger_at(file: Path) -> Ledger:
    return Ledger(f"sqlite:///{file}")


def test_migrations_make_the_tables_that_the_code_knows(file: Path) -> None:
    """Column by column; and the newest of them is the one that the code asks for."""
    ledger_at(file).prepare()
    with open_engine(f"sqlite:///{file}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    assert ScriptDirectory(str(schema.MIGRATIONS)).get_current_head() == schema.HEAD


def test_a_ledger_from_before_there_were_migrations_keeps_its_jobs(file: Path) -> None:
    """What is new in them is as if nobody had asked for anything; they can be run."""
    with sqlite3.connect(file) as connection:
        connection.executescript(BEFORE_MIGRATIONS)
    connection.close()
    ledger = ledger_at(file)
    ledger.prepare()
    job = ledger.job("job-1")
    assert (job.by, job.state, job.priority, job.devices, job.budget_s) == ("ann", State.QUEUED, "normal", "auto", None)
    assert [event.id for event in ledger.events("job-1")] == [7]
    claimed = ledger.claim("job-1", "host")
    assert claimed
    assert ledger.finish(claimed, State.FAILED, {})


def test_of_many_who_migrate_at_once_one_does(file: Path) -> None:
    """As when gateway and trainers start together."""
    failures: list[Exception] = []
    barrier = threading.Barrier(4)

    def migrate() -> None:
        barrier.wait()
        try:
            ledger_at(file).prepare()
        except StorageFailed as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ledger_at(file).jobs() == ()


def test_the_tables_of_a_newer_release_are_left_alone(file: Path) -> None:
    """One clear error, and nothing is changed."""
    ledger_at(file).prepare()
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageFailed, match="revision 9999, made by a newer release"):
        ledger_at(file).prepare()
    with engine.connect() as connection:
        assert schema.revision(connection) == "9999"
