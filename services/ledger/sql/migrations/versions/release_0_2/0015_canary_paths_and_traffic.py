"""The path of a canary's evidence, when it was last looked at, and the traffic of each version."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"

WIDE = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("verdicts", sa.Column("path", sa.JSON))
    op.add_column("verdicts", sa.Column("looked_at", sa.DateTime(timezone=True)))
    op.create_table(
        "traffic",
        sa.Column("model", sa.String, primary_key=True),
        sa.Column("version", WIDE, primary_key=True, autoincrement=False),
        sa.Column("gateway", sa.String, primary_key=True),
        sa.Column("slot", WIDE, primary_key=True, autoincrement=False),
        sa.Column("counts", sa.JSON, nullable=False),
    )
    op.create_index("ix_traffic_slot", "traffic", ["slot"])
