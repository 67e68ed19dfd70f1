"""Roles of PostgreSQL: each process may do with the ledger what it needs, and nothing else.

The owner of the tables migrates and makes the roles. The trainer runs the code of models: it sees no key, changes of a
job only how it goes, and appends to the audit trail nothing but the versions that it published.
"""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, Engine, text

from modelyard.models.errors import StorageFailed

READ, ADD, CHANGE, REMOVE = "SELECT", "INSERT", "UPDATE", "DELETE"
Grants = Mapping[str, tuple[str, ...]]
"""Privileges by table."""

GATEWAY: Grants = {
    "alembic_version": (READ,),
    "jobs": (READ, ADD, CHANGE),
    "events": (READ, ADD),
    "submissions": (READ, ADD, REMOVE),
    "logs": (READ,),
    "workers": (READ,),
    "observations": (READ, ADD, CHANGE),
    "verdicts": (READ,),
    "traffic": (READ, ADD, CHANGE),
    "answers": (READ, ADD, REMOVE),
    "feedback": (READ, ADD),
    "triggers": (READ, ADD, CHANGE, REMOVE),
    "drift": (READ,),
    "searches": (READ, ADD, CHANGE),
    "keys": (READ, ADD, CHANGE),
    "audit": (READ, ADD),
    "chains": (READ, ADD, CHANGE),
}
SCHEDULER: Grants = {
    "alembic_version": (READ,),
    "jobs": (READ, ADD, CHANGE),
    "events": (READ, ADD),
    "submissions": (READ, ADD, REMOVE),
    "workers": (READ,),
    "observations": (READ,),
    "verdicts": (READ, ADD, CHANGE, REMOVE),
    "traffic": (READ, REMOVE),
    "answers": (READ,),
    "feedback": (READ,),
    "triggers": (READ, CHANGE),
    "drift": (READ, ADD, CHANGE),
    "searches": (READ, CHANGE),
    "notifications": (READ, ADD, CHANGE, REMOVE),
    "audit": (READ, ADD, REMOVE),
    "chains": (READ, ADD, CHANGE),
}
PROGRESS = "state, attempts, losses, spent_s, worker, lease_until, started_at, finished_at, progress, result"
"""Columns of a job that say how it goes: not what was asked for, nor by whom."""
TRAINER: Grants = {
    "alembic_version": (READ,),
    "jobs": (READ, f"{CHANGE} ({PROGRESS})"),
    "events": (READ, ADD),
    "logs": (READ, ADD, REMOVE),
    "workers": (READ, ADD, CHANGE, REMOVE),
    "answers": (READ,),
    "feedback": (READ,),
    "audit": (READ, ADD),
    "chains": (READ, ADD, CHANGE),
}
TRAINER_ROLE = "modelyard_trainer"
ROLES: Mapping[str, Grants] = {
    "modelyard_gateway": GATEWAY,
    "modelyard_scheduler": SCHEDULER,
    TRAINER_ROLE: TRAINER,
}
TRAINER_ROWS: Mapping[str, str] = {"audit": "kind = 'version'", "chains": "name = 'audit version'"}
"""Rows that the trainer sees and adds, of tables that others have rows in. No policy names a role: a backup of the
tables can be restored where there are no roles yet."""
PASSWORD_METHOD = b"scram-sha-256"


def make_roles(engine: Engine, passwords: Mapping[str, str]) -> None:
    """Creates the roles that have a password, or gives them that one, and the privileges of this release. Idempotent.

    Args:
        passwords: by role.

    Raises:
        StorageFailed: the database has no roles; it is SQLite.
    """
    if not passwords:
        return
    if engine.dialect.name != "postgresql":
        raise StorageFailed("ledger: only PostgreSQL has roles; leave their passwords out")
    with engine.begin() as connection:
        for statement in list_policies():
            connection.execute(text(statement))
        for role, password in passwords.items():
            make_role(connection, role, password)
            for statement in list_grants(connection, role):
                connection.execute(text(statement))


def make_role(connection: Connection, role: str, password: str) -> None:
    """It may log in, and nothing else yet. The password is hashed here, so that no log of the database can hold it."""
    known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    hashed = hash_password(connection, role, password)
    can = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
    connection.exec_driver_sql(f"{'ALTER' if known else 'CREATE'} ROLE {role} WITH {can} PASSWORD '{hashed}'")


def hash_password(connection: Connection, role: str, password: str) -> str:
    """As the database stores it (RFC 5803)."""
    driver = connection.connection.driver_connection
    assert driver
    hashed: bytes = driver.pgconn.encrypt_password(password.encode(), role.encode(), PASSWORD_METHOD)
    return hashed.decode()


def list_grants(connection: Connection, role: str) -> Iterator[str]:
    """Takes everything from a role, then gives it what it may do."""
    database = connection.dialect.identifier_preparer.quote(connection.scalar(text("SELECT current_database()")) or "")
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
    yield f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}"
    yield f"GRANT CONNECT ON DATABASE {database} TO {role}"
    yield f"GRANT USAGE ON SCHEMA public TO {role}"
    for table, privileges in ROLES[role].items():
        yield f"GRANT {', '.join(privileges)} ON {table} TO {role}"
    for table in ("events", "logs", "answers", "feedback"):
        if ADD in ROLES[role].get(table, ()):
            yield f"GRANT USAGE ON SEQUENCE {table}_id_seq TO {role}"


def list_policies() -> Iterator[str]:
    """Shows the trainer its own rows only; others see all."""
    for table, rows in TRAINER_ROWS.items():
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        yield f"DROP POLICY IF EXISTS of_trainers ON {table}"
        yield f"CREATE POLICY of_trainers ON {table} USING (current_user <> '{TRAINER_ROLE}' OR {rows})"
