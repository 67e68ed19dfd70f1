"""The durable record of jobs, apart from the broker. Slim: no Keras, no TensorFlow."""

from modelyard.services.ledger.job import (
    FINAL,
    MOVES,
    OPEN,
    UNDER_WAY,
    Event,
    Job,
    KeyReused,
    Priority,
    State,
    Submission,
    TooLate,
)
from modelyard.services.ledger.jobs import LEASE_S, MAX_LOSSES, Ledger

__all__ = [
    "FINAL",
    "LEASE_S",
    "MAX_LOSSES",
    "MOVES",
    "OPEN",
    "UNDER_WAY",
    "Event",
    "Job",
    "KeyReused",
    "Ledger",
    "Priority",
    "State",
    "Submission",
    "TooLate",
]
