"""Time budgets, priorities, losses, retries, devices; what training processes wrote; which workers there are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in (
        sa.Column("priority", sa.String, nullable=False, server_default="normal"),
        sa.Column("devices", sa.String, nullable=False, server_default="auto"),
        sa.Column("budget_s", sa.Double),
        sa.Column("spent_s", sa.Double, nullable=False, server_default="0"),
        sa.Column("losses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("retry_of", sa.String),
    ):
        op.add_column("jobs", column)
    op.create_table(
        "logs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("queues", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
