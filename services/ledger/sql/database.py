"""The ledger's database: opened at the first use, which creates or migrates its tables."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Delete, Engine, Update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from modelyard.services.ledger.sql import schema
from modelyard.services.ledger.sql.engine import open_engine, storage_errors
from modelyard.services.ledger.sql.stopped_writer import StoppedWriterWatch
from modelyard.services.ledger.sql.tables import Table


def execute_change(session: Session, statement: Update | Delete) -> bool:
    """Executes an UPDATE or DELETE; whether it changed a row."""
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # its result is a CursorResult


def insert_if_absent(session: Session, *rows: Table) -> bool:
    """Inserts rows; False, and nothing happens, if one of their keys exists, perhaps from a concurrent transaction."""
    try:
        with session.begin_nested():
            session.add_all(rows)
    except IntegrityError:
        return False
    return True


class Database:
    """Transactions. Safe for many threads; not to be taken across a fork."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        file = self._engine.dialect.name == "sqlite" and self._engine.url.database
        self._writers = StoppedWriterWatch(Path(file)) if file else None
        self._prepared = False

    def prepare(self) -> None:
        """Checks that the tables exist; SQLite's are created or migrated.

        Raises:
            StorageFailed: the database cannot be reached or written, is another release's, or was never migrated.
        """
        self._ensure_tables(schema.prepare)

    def migrate(self) -> None:
        """Creates the tables, or migrates those of an older release. Raises ``StorageFailed``."""
        self._ensure_tables(schema.migrate)

    def make_roles(self, passwords: Mapping[str, str]) -> None:
        """Creates roles for the processes, each with its password and privileges. Raises ``StorageFailed``."""
        from modelyard.services.ledger.sql.roles import make_roles  # only who migrates does

        with storage_errors():
            make_roles(self._engine, passwords)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction; raises ``StorageFailed``."""
        if not self._prepared:
            self.prepare()
        with storage_errors(), Session(self._engine) as session, session.begin():
            yield session

    def end_stopped_writer(self) -> None:
        """Kills the process that keeps all others from writing, if it stands still; to be called every few seconds."""
        if self._writers:
            self._writers.check()

    def close(self) -> None:
        self._engine.dispose()

    def _ensure_tables(self, how: Callable[[Engine], None]) -> None:
        database = self._engine.url.database
        with storage_errors():
            if self._engine.dialect.name == "sqlite" and database:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            how(self._engine)
        self._prepared = True
