"""The ledger's database: opened when it is first asked, its tables made or migrated then."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Delete, Update
from sqlalchemy.orm import Session

from services.ledger import schema
from services.ledger.tables import open_engine, storage_errors


def changes(session: Session, statement: Update | Delete) -> bool:
    """Carries out an UPDATE or DELETE; whether there was a row for it."""
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # its result is a CursorResult


class Database:
    """Transactions. Safe for many threads; not to be taken across a fork."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._prepared = False

    def prepare(self) -> None:
        """Creates the tables, or brings those of an older release up to date.

        Raises:
            StorageFailed: the database cannot be reached or written, or is a newer release's.
        """
        database = self._engine.url.database
        with storage_errors():
            if self._engine.dialect.name == "sqlite" and database:
                Path(database).parent.mkdir(parents=True, exist_ok=True)
            schema.prepare(self._engine)
        self._prepared = True

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction; raises ``StorageFailed``."""
        if not self._prepared:
            self.prepare()
        with storage_errors(), Session(self._engine) as session, session.begin():
            yield session

    def close(self) -> None:
        self._engine.dispose()
