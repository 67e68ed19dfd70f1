"""Jobs that train on feedback, too."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("with_feedback", sa.Boolean, nullable=False, server_default=sa.false()))
