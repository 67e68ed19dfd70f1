"""When a worker registered first, and how many jobs it runs at a time: unknown of one of an earlier release."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("workers", sa.Column("since", sa.DateTime(timezone=True)))
    op.add_column("workers", sa.Column("slots", sa.Integer))
