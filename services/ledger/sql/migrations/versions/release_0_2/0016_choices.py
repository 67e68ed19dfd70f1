"""How predictions are chosen that get feedback, and how sure they were."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("answers", sa.Column("margin", sa.Double))
    op.add_column("feedback", sa.Column("chosen", sa.String(16), nullable=False, server_default="outcome"))
