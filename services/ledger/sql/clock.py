"""The database's clock: leases use this one clock, however wrong that of a worker's machine is."""

from datetime import datetime
from typing import Any

from sqlalchemy import literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from modelyard.services.ledger.sql.column_types import UtcDateTime


class now(FunctionElement[datetime]):  # noqa: N801  # reads as SQL's own functions do
    """The time at which the statement runs, UTC; ``now(-60)`` is a minute before."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, plus_s: float = 0.0) -> None:
        super().__init__(literal(float(plus_s)))


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: Any, **names: Any) -> str:
    """As SQLAlchemy writes moments there: with six digits, though SQLite knows three."""
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {compiler.process(element.clauses, **names)} || ' seconds')"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: Any, **names: Any) -> str:
    return f"(clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **names)}))"
