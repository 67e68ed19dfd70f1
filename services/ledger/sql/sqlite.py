"""Connections to SQLite: many readers beside one writer, who holds its lock for a moment only."""

import os
import sqlite3
import time
from typing import Any

BUSY_TIMEOUT_S = 5
"""How long a statement waits while another process writes to the file."""
SOON_S = 0.5
"""Of that, what is too little to begin another try."""


class Connection(sqlite3.Connection):
    """Makes a transaction durable when it has ended, and not while it keeps all others from writing.

    With ``synchronous=NORMAL`` a commit writes into the write-ahead log without a flush, so that the lock is held for
    a fraction of a millisecond on any disk. The flush comes before whoever wrote learns of it: what is accepted
    survives a power cut. Frames of others that come before it are flushed with it.
    """

    def commit(self) -> None:
        has_written = self.in_transaction
        super().commit()
        if has_written:
            flush_log(self)


def flush_log(connection: sqlite3.Connection) -> None:
    """Flushes the write-ahead log; nothing where there is none, as in memory."""
    _, _, path = connection.execute("PRAGMA database_list").fetchone()
    try:
        descriptor = os.open(f"{path}-wal", os.O_RDONLY)
    except FileNotFoundError:  # in memory, or all of it is in the database's own file, flushed
        return
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def prepare_connection(connection: Any, _: object) -> None:
    """SQLAlchemy's event ``connect``."""
    set_journal_mode(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def set_journal_mode(connection: sqlite3.Connection) -> None:
    """Sets the journal mode of the file: with WAL readers go on while a writer writes.

    Two programs that open a new file at once both hold its read lock and want its write lock. SQLite refuses one of
    them at once, without its busy timeout, for neither could ever go on. The one that was refused tries again, as
    long as that timeout is in all; one that has waited so long already does not.
    """
    began = time.monotonic()
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
        if (left := BUSY_TIMEOUT_S - (time.monotonic() - began)) < SOON_S:
            raise
        from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random  # seldom needed

        wait = wait_random(min=0.001, max=0.05)
        for attempt in Retrying(
            retry=retry_if_exception(_is_busy), stop=stop_after_delay(left), wait=wait, reraise=True
        ):
            with attempt:
                connection.execute("PRAGMA journal_mode=WAL")


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
