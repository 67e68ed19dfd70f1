"""Opens the ledger's database."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from modelyard.models.errors import StorageFailed


def open_engine(url: str) -> Engine:
    """An engine of SQLite or PostgreSQL; it does not connect yet. The driver of the other one is not loaded."""
    if make_url(url).get_backend_name() == "sqlite":
        from modelyard.services.ledger.sql import sqlite

        engine = create_engine(url, connect_args={"timeout": sqlite.BUSY_TIMEOUT_S, "factory": sqlite.Connection})
        event.listen(engine, "connect", sqlite.prepare_connection)
        return engine
    from modelyard.services.ledger.sql import postgresql

    # Two connections are kept: for what polls, and for requests. Each is tried before it is used: the database may
    # have been restarted. A gateway's requests and threads share them.
    parameters = postgresql.PARAMETERS
    engine = create_engine(url, connect_args=parameters, pool_size=2, max_overflow=18, pool_pre_ping=True)
    event.listen(engine, "do_connect", postgresql.connect)
    return engine


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors of the database into ``StorageFailed`` with one line of text."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageFailed(f"ledger: {cause}") from error
