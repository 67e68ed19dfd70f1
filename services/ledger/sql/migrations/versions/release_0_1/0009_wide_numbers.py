"""Versions, and numbers of rows that never end, with 64 bits; in SQLite they have them already."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

VERSIONS = ("observations", "answers", "feedback", "drift")
ROWS = ("events", "logs", "answers", "feedback")


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    for table, column in (*((name, "version") for name in VERSIONS), *((name, "id") for name in ROWS)):
        op.alter_column(table, column, type_=sa.BigInteger, existing_type=sa.Integer, existing_nullable=False)
