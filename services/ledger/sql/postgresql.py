"""Connections to PostgreSQL, with timeouts for everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

PARAMETERS = {
    # Also where the database was made without a locale, and would else give bytes.
    "client_encoding": "utf8",
    # A host that is gone is noticed in seconds, not in the quarter of an hour that TCP would take.
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    # A lock must not block a request for ever, nor a process that stands still in a transaction all others.
    "options": "-c timezone=UTC -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000",
}
"""libpq's (PostgreSQL 15, 34.1.2)."""
RESPONSE_TIMEOUT_S = 20.0
"""Timeout of one statement: longer than it waits for a lock. A result in chunks has it for each chunk."""

Result = TypeVar("Result")


class Connection(psycopg.Connection[Any]):
    """Leaves a server that hangs: its kernel goes on to say that all is well, so TCP notices nothing."""

    response_timeout_s: float | None = RESPONSE_TIMEOUT_S

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """Raises ``psycopg.OperationalError``, too, where the server does not answer in time; then this is closed."""
        try:
            return super().wait(gen, interval, self.response_timeout_s if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()  # what the server has done is not known; it takes back what was not committed
            raise psycopg.OperationalError(f"no answer within {self.response_timeout_s:g} s") from error


def connect(_dialect: Any, _record: Any, arguments: Any, parameters: Any) -> Connection:
    """SQLAlchemy's event ``do_connect``."""
    return Connection.connect(*arguments, **parameters)


@contextmanager
def extended_timeouts(connection: sqlalchemy.Connection, lock_s: float) -> Iterator[None]:
    """Statements in this block have no timeout, and wait ``lock_s`` for a lock."""
    ours = connection.connection.driver_connection
    assert isinstance(ours, Connection)
    usual, ours.response_timeout_s = ours.response_timeout_s, None
    connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{lock_s:g}s'"))
    try:
        yield
    finally:
        ours.response_timeout_s = usual
