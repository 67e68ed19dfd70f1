"""The ledger's tables: made by migrations, which bring those of an earlier release up to date with all they hold."""

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, make_url, text

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger import Ledger, State
from modelyard.services.ledger.sql import schema
from modelyard.services.ledger.sql.engine import open_engine, storage_errors
from modelyard.services.ledger.sql.tables import Table
from tests.support.postgres import PASSWORD, Postgres
from tests.support.slim_programs import modelyard

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


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def ledger_at(file: Path) -> Ledger:
    return Ledger(f"sqlite:///{file}")


def test_migrations_make_the_tables_that_the_code_knows(empty_url: str) -> None:
    """Column by column, on both databases; and the newest of them is the one that the code needs."""
    migrate(empty_url)
    with open_engine(empty_url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    assert schema.open_scripts().get_current_head() == schema.HEAD


def test_a_ledger_from_before_there_were_migrations_keeps_its_jobs(file: Path) -> None:
    """Their new columns have the defaults; they can be run."""
    with sqlite3.connect(file) as connection:
        connection.executescript(BEFORE_MIGRATIONS)
    connection.close()
    ledger = ledger_at(file)
    ledger.prepare()
    job = ledger.jobs.get("job-1")
    assert (job.by, job.state, job.priority, job.devices, job.budget_s) == ("ann", State.QUEUED, "normal", "auto", None)
    assert [event.id for event in ledger.jobs.list_events("job-1")] == [7]
    claimed = ledger.jobs.claim("job-1", "host")
    assert claimed
    assert ledger.jobs.finish(claimed, State.FAILED, {})


def test_of_many_who_migrate_at_once_one_does(empty_url: str) -> None:
    """As when gateway and trainers start together."""
    failures = run_at_once(*4 * [lambda: migrate(empty_url)])
    assert failures == []
    with closing(Ledger(empty_url)) as ledger:
        assert ledger.jobs.find() == ()


def test_of_many_who_open_a_new_file_at_once_none_is_refused(tmp_path: Path) -> None:
    """SQLite does not wait by itself while two set the journal mode of one file: one in five of these files has it."""
    for number in range(20):
        engines = [open_engine(f"sqlite:///{tmp_path}/{number}.db") for _ in range(8)]
        assert run_at_once(*[partial(write, engine) for engine in engines]) == []


def write(engine: Engine) -> None:
    with storage_errors(), engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS rows (id INTEGER)"))
        connection.execute(text("INSERT INTO rows VALUES (1)"))
    engine.dispose()


def test_the_tables_of_a_newer_release_are_left_alone(empty_url: str) -> None:
    """One clear error for who migrates and who starts, and nothing is changed."""
    migrate(empty_url)
    engine = open_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with closing(Ledger(empty_url)) as ledger:
        for use in (ledger.migrate, ledger.prepare):
            with pytest.raises(StorageFailed, match="revision 9999, made by a newer release"):
                use()
    with engine.connect() as connection:
        assert schema.read_revision(connection) == "9999"


def test_processes_do_not_migrate_a_database_that_others_share(postgres_server: Postgres) -> None:
    """They say what to do; once that was done, the same one goes on."""
    url = postgres_server.new_database()
    with closing(Ledger(url)) as ledger:
        with pytest.raises(StorageFailed, match="it has no tables; run `modelyard migrate` once"):
            ledger.prepare()
        migrate(url)
        engine = open_engine(url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        with pytest.raises(StorageFailed, match=f"of revision 0001, this release needs {schema.HEAD}; run"):
            ledger.jobs.find()
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": schema.HEAD})
        assert ledger.jobs.find() == ()


def test_the_command_migrates_and_says_no_password(
    postgres_server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the password from its file; a wrong one is one line, exit status 1. The store is made, too."""
    name = make_url(postgres_server.new_database()).database
    assert name
    (tmp_path / "modelyard_ledger_password").write_text(PASSWORD + "\n")
    monkeypatch.setenv("MODELYARD_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("MODELYARD_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MODELYARD_LEDGER_URL", f"postgresql+psycopg://modelyard@/{name}?host={postgres_server.socket}")
    done = modelyard("migrate")
    assert (done.returncode, "are up to date" in done.stdout) == (0, True), done.stderr
    assert (tmp_path / "store" / "models.config").read_text() == "model_config_list {\n}\n"
    (tmp_path / "modelyard_ledger_password").write_text("wr0ng")
    refused = modelyard("migrate")
    assert refused.returncode == StorageFailed.exit_code
    assert re.fullmatch(r'error: ledger: .*password authentication failed for user "modelyard"\n', refused.stderr)
    assert PASSWORD not in done.stdout + done.stderr + refused.stdout + refused.stderr


def test_versions_may_have_sixteen_digits(ledger_url: str) -> None:
    """TensorFlow Serving's versions have 64 bits; some number theirs by the clock."""
    version, since = 2**53 - 1, datetime.now(UTC)
    with closing(Ledger(ledger_url)) as ledger:
        found = ledger.observations
        found.put_counts("m", "canary", version, since, "gateway", {"answers": 1})
        assert found.sum_counts("m", since) == {"canary": {"answers": 1}}


def test_of_two_judges_who_begin_at_once_one_does(ledger_url: str) -> None:
    """Neither takes the other's state away."""
    since, won = datetime.now(UTC), []
    with closing(Ledger(ledger_url)) as ledger:
        found = ledger.observations
        assert run_at_once(*4 * [lambda: won.append(found.save_analysis("m", since, 0, {"by": "one of us"}))]) == []
        assert sorted(won) == [False, False, False, True]
        assert found.read_analysis("m", since).state == {"by": "one of us"}


def test_a_trigger_that_is_set_twice_at_once_is_one(ledger_url: str) -> None:
    """Both calls succeed."""
    with closing(Ledger(ledger_url)) as ledger:
        found = ledger.triggers
        assert run_at_once(*4 * [lambda: found.put("m", "t", {"cron": "0 3 * * *"}, "test")]) == []
        (kept,) = found.list_triggers("m")
        assert kept.revision == 4


def migrate(url: str) -> None:
    with closing(Ledger(url)) as ledger:
        ledger.migrate()


def run_at_once(*actions: Callable[[], object]) -> list[Exception]:
    """Each in a thread of its own; what was raised."""
    failures: list[Exception] = []
    barrier = threading.Barrier(len(actions))

    def act(action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            action()
        except StorageFailed as error:
            failures.append(error)

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
