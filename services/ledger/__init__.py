"""The ledger: the durable record of jobs, feedback, keys and decisions, apart from the broker. No Keras in here."""

from modelyard.services.ledger.job import (
    FINAL,
    LEASE_S,
    MAX_LOSSES,
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
from modelyard.services.ledger.ledger import Ledger

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
