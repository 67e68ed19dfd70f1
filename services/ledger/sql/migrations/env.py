"""What Alembic runs: the connection comes from ``schema.py``, with its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
