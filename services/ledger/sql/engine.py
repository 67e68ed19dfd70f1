"""Opens the ledger's database."""

import sqlite3
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
    """An engine of SQLite or PostgreSQL; it does not connect yet."""
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
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: Any) -> None:
    """Sets the journal mode of the file.

    Two programs that open a new file at once both hold its read lock and want its write lock. SQLite refuses one of
    them at once, without its busy timeout, for neither could ever go on. The one that was refused tries again.
    """
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random  # seldom needed

        wait = wait_random(min=0.001, max=0.05)
        for attempt in Retrying(
            retry=retry_if_exception(_is_busy), stop=stop_after_delay(BUSY_TIMEOUT_S), wait=wait, reraise=True
        ):
            with attempt:
                connection.execute("PRAGMA journal_mode=WAL")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns errors of the database into ``StorageFailed`` with one line of text."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise StorageFailed(f"ledger: {cause}") from error
