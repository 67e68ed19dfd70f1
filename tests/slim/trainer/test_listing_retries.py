"""When a model is listed again although no file has changed."""

import time

from modelyard.models.listing import Listed
from modelyard.services.trainer.model_watch import FIRST_RETRY_S, MAX_RETRY_S, Entry, set_retry

HASHES = {"models/churn.py": "0"}


def test_an_error_of_the_file_is_final_until_it_changes() -> None:
    """Nothing else could mend it."""
    entry = set_retry(Entry(Listed(error="no"), HASHES), None)
    assert (entry.retry_at, entry.is_due) == (0, False)


def test_an_error_of_the_data_is_looked_at_again_ever_more_seldom() -> None:
    """Up to once an hour; an edit begins anew."""
    entry, seconds = None, []
    for _ in range(12):
        entry = set_retry(Entry(Listed(error="no such file", may_pass=True), HASHES), entry)
        assert entry.retry_at > time.monotonic()
        assert not entry.is_due
        seconds.append(entry.retry_s)
    assert seconds[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert seconds[-1] == MAX_RETRY_S
    edited = set_retry(Entry(Listed(error="no", may_pass=True), {"models/churn.py": "1"}), entry)
    assert edited.retry_s == FIRST_RETRY_S
