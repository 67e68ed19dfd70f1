"""Creates and migrates a database's tables. Alembic is loaded only where something has to be done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger.sql.sqlite import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

HEAD = "0018"
"""The newest file in ``migrations/versions``, which has a folder for each release."""
MIGRATIONS = Path(__file__).with_name("migrations")
LOCK = 0x6D6F6479
"""Advisory lock of PostgreSQL: one process migrates at a time."""
MIGRATION_LOCK_TIMEOUT_S = 120
"""How long others wait for it: longer than for a lock that is held for one statement."""


def prepare(engine: Engine) -> None:
    """Checks that the tables are of this release. The first process migrates those of SQLite, others by ``migrate``.

    Raises:
        StorageFailed: they are not; the text has the remedy.
    """
    if engine.dialect.name == "sqlite":
        migrate(engine)
        return
    with engine.connect() as connection:
        found = read_revision(connection)
    if found not in (None, HEAD) and not is_known(found):
        raise make_newer_error(str(found))
    if found != HEAD:
        state = f"its tables are of revision {found}, this release needs {HEAD}" if found else "it has no tables"
        raise StorageFailed(f"ledger: {state}; run `modelyard migrate` once")


def migrate(engine: Engine) -> None:
    """Creates or migrates the tables if needed; of several processes one does, and the others wait.

    Raises:
        StorageFailed: they were made by a newer release.
    """
    with engine.connect() as connection:
        if read_revision(connection) == HEAD:
            return
    with lock_migrations(engine) as connection:
        if read_revision(connection) != HEAD:
            _upgrade(connection)


def read_revision(connection: Connection) -> str | None:
    """Revision of the tables; None if there are none, or they are older than migrations."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@contextmanager
def lock_migrations(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the lock of migrations."""
    if engine.dialect.name == "sqlite":  # Python's sqlite3 begins none before it changes tables, so this one is ours
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * MIGRATION_LOCK_TIMEOUT_S}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
        return
    from modelyard.services.ledger.sql.postgresql import extended_timeouts

    with engine.begin() as connection, extended_timeouts(connection, MIGRATION_LOCK_TIMEOUT_S):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    found = read_revision(connection)
    if found is not None and not is_known(found):
        raise make_newer_error(found)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("recursive_version_locations", "true")
    command.upgrade(config, "head")


def is_known(revision: str) -> bool:
    """Whether it is one of this release, or of one before."""
    return any(script.revision == revision for script in open_scripts().walk_revisions())


def open_scripts() -> "ScriptDirectory":
    """The migrations up to this release's."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(MIGRATIONS), recursive_version_locations=True)


def make_newer_error(found: str) -> StorageFailed:
    return StorageFailed(f"ledger: its tables are of revision {found}, made by a newer release; use that one")
