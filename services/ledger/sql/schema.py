"""Brings a database's tables to the form that this code knows. Alembic is loaded only where something is to be done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger.sql.engine import BUSY_TIMEOUT_S

HEAD = "0010"
"""The newest file in ``migrations/versions``."""
MIGRATIONS = Path(__file__).with_name("migrations")
LOCK = 0x6D6F6479
"""Of PostgreSQL, for one program that migrates at a time."""
PATIENCE_S = 120
"""How long the others wait for it: longer than for a lock that is held for one statement."""


def prepare(engine: Engine) -> None:
    """Sees to it that the tables are of this release: SQLite's are migrated by who comes first, others by ``migrate``.

    Raises:
        StorageFailed: they are not; with the way out.
    """
    if engine.dialect.name == "sqlite":
        migrate(engine)
        return
    with engine.connect() as connection:
        found = revision(connection)
    if found not in (None, HEAD) and found not in known():
        raise newer(str(found))
    if found != HEAD:
        state = f"its tables are of revision {found}, this release needs {HEAD}" if found else "it has no tables"
        raise StorageFailed(f"ledger: {state}; run `modelyard migrate` once")


def migrate(engine: Engine) -> None:
    """Creates or migrates the tables, if need be; of several who do so at once, one does and the others wait.

    Raises:
        StorageFailed: they were made by a newer program.
    """
    with engine.connect() as connection:
        if revision(connection) == HEAD:
            return
    with alone(engine) as connection:
        if revision(connection) != HEAD:
            _upgrade(connection)


def revision(connection: Connection) -> str | None:
    """Of the tables; None if they are not there, or were made before migrations were."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


@contextmanager
def alone(engine: Engine) -> Iterator[Connection]:
    """A transaction in which nobody else migrates."""
    if engine.dialect.name == "sqlite":  # Python's sqlite3 begins none before it changes tables, so this one is ours
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * PATIENCE_S}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_TIMEOUT_S}")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
        return
    from modelyard.services.ledger.sql.postgresql import patient

    with engine.begin() as connection, patient(connection, PATIENCE_S):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield connection


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    found = revision(connection)
    if found is not None and found not in known():
        raise newer(found)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(config, "head")


def known() -> set[str]:
    """Every revision up to this release's."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def newer(found: str) -> StorageFailed:
    return StorageFailed(f"ledger: its tables are of revision {found}, made by a newer release; use that one")
