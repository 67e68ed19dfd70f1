"""What must be said to the ledger is said until it hears: its database may be restarting."""

import logging

from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_delay, wait_random_exponential

from modelyard.models.errors import StorageFailed

PATIENCE_S = 60.0
"""As long as a lease: afterwards the job is another worker's anyway."""

patiently = Retrying(
    retry=retry_if_exception_type(StorageFailed),
    stop=stop_after_delay(PATIENCE_S),
    wait=wait_random_exponential(multiplier=0.2, max=5),
    before_sleep=before_sleep_log(logging.getLogger(__name__), logging.WARNING),
    reraise=True,
)
"""Calls a function; raises ``StorageFailed`` if the ledger stays away."""
