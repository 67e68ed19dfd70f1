"""The logs of jobs."""

from modelyard.services.ledger import Ledger
from modelyard.services.ledger.logs import LOG_CHARS
from tests.support.jobs import accept


def test_a_log_keeps_the_newest(ledger: Ledger) -> None:
    """In order, of all attempts, up to a size; a single text that is longer is cut."""
    job, other = accept(ledger), accept(ledger)
    ledger.logs.write(other.id, "other")
    for number in range(10):
        ledger.logs.write(job.id, f"{number}" * (LOG_CHARS // 4))
    assert ledger.logs.read(job.id) == "".join(f"{number}" * (LOG_CHARS // 4) for number in (6, 7, 8, 9))
    ledger.logs.write(job.id, "x" * LOG_CHARS + "end")
    assert ledger.logs.read(job.id) == "x" * (LOG_CHARS - 3) + "end"
    assert ledger.logs.read(other.id) == "other"
