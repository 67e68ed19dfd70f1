"""The audit trail, and the heads of its chains of hashes. The database itself refuses to change or reorder entries."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

WIDE = sa.BigInteger().with_variant(sa.Integer, "sqlite")
REMOVED = "OLD.number > COALESCE((SELECT removed FROM chains WHERE name = 'audit ' || OLD.kind), 0)"
"""Retention moves the chain's beginning first; nothing else may be deleted."""
REFUSE = "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
SQLITE = (
    f"CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit {REFUSE}",
    f"CREATE TRIGGER audit_undeleted BEFORE DELETE ON audit WHEN {REMOVED} {REFUSE}",
)
FUNCTION = f"""
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF NOT ({REMOVED}) THEN RETURN OLD; END IF;
  END IF;
  RAISE EXCEPTION 'the audit trail is append-only';
END $$
"""
POSTGRESQL = (
    FUNCTION,
    "CREATE TRIGGER audit_row BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()",
    "CREATE TRIGGER audit_all BEFORE TRUNCATE ON audit EXECUTE FUNCTION refuse_audit_change()",
)


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("number", WIDE, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("by", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("request_id", sa.String, nullable=False),
        sa.Column("model", sa.String),
        sa.Column("version", WIDE),
        sa.Column("subject", sa.String),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
    )
    for column in ("at", "model"):
        op.create_index(f"ix_audit_{column}", "audit", [column])
    op.create_table(
        "chains",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("count", WIDE, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("removed", WIDE, nullable=False),
        sa.Column("anchor", sa.String(64), nullable=False),
    )
    for statement in SQLITE if op.get_context().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)
