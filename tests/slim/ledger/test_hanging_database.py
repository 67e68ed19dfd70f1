"""A PostgreSQL that stands still keeps its connections open; nobody waits for it for ever."""

from collections.abc import Iterator
from contextlib import closing

import psutil
import pytest
from sqlalchemy import Connection as Transaction
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from modelyard.models.errors import StorageFailed
from modelyard.services.ledger.sql.database import Database
from modelyard.services.ledger.sql.engine import open_engine
from modelyard.services.ledger.sql.postgresql import Connection, extended_timeouts
from tests.support.postgres import Postgres
from tests.support.signals import standing_still

TIMEOUT_TEXT = "no answer within 0.5 s"
SLOW = text("SELECT pg_sleep(1)")
ONE = text("SELECT 1")


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    with closing(Database(postgres_url)) as found:
        yield found


def shorten_timeout(transaction: Transaction) -> Connection:
    """Its connection, from now on with a shorter timeout."""
    found = transaction.connection.driver_connection
    assert isinstance(found, Connection)
    found.response_timeout_s = 0.5
    return found


def find_server(connection: Connection) -> psutil.Process:
    """The process at the other end."""
    return psutil.Process(connection.info.backend_pid)


def test_a_server_that_hangs_in_a_transaction_is_one_clear_error(database: Database) -> None:
    """In time; the next transaction goes over another connection."""

    def select_while_it_hangs() -> None:
        with database.session() as session, standing_still(find_server(shorten_timeout(session.connection()))):
            session.scalar(ONE)

    with pytest.raises(StorageFailed, match=f"^ledger: {TIMEOUT_TEXT}$"):
        select_while_it_hangs()
    with database.session() as session:
        assert session.scalar(ONE) == 1


def test_a_connection_that_hung_while_nobody_used_it_is_replaced(database: Database) -> None:
    """Who comes next notices nothing but the time."""
    with database.session() as session:
        hung = shorten_timeout(session.connection())
    with standing_still(find_server(hung)), database.session() as session:
        assert session.scalar(ONE) == 1
    assert hung.closed


def test_who_migrates_may_take_longer(postgres_server: Postgres) -> None:
    """A statement lasts as long as it lasts; afterwards the limit is as before."""
    engine = open_engine(postgres_server.new_database())
    with engine.connect() as connection:
        shorten_timeout(connection)
        with connection.begin(), extended_timeouts(connection, 120):
            connection.execute(SLOW)
        with pytest.raises(OperationalError, match=TIMEOUT_TEXT), connection.begin():
            connection.execute(SLOW)
    engine.dispose()
