"""How the ledger's database is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from modelyard.models.errors import StorageFailed

BUSY_TIMEOUT_S = 5
"""How long a statement waits while another process writes to SQLite's file."""


def open_engine(url: str) -> Engine:
    """Of SQLite or PostgreSQL; connects to nothing yet."""
    if make_url(url).get_backend_name() != "sqlite":
        from modelyard.services.ledger.sql import postgresql  # its driver takes a while to load

        # Two connections are kept: for what polls, and for requests. Each is tried before it is used: the database may
        # have been restarted. A gateway's requests and threads share them.
        parameters = postgresql.PARAMETERS
        engine = create_engine(url, connect_args=parameters, pool_size=2, max_overflow=18, pool_pre_ping=True)
        event.listen(engine, "do_connect", postgresql.connect)
        return engine
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _sqlite_pragmas)
    return engine


def _sqlite_pragmas(connection: Any, _: object) -> None:
    """WAL lets readers go on while a writer writes; FULL makes an accepted job survive a power cut."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Says in one line what the database said."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageFailed(f"ledger: {cause}") from error
