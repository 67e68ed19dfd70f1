"""The durable record of jobs, apart from the broker. Slim: no Keras, no TensorFlow."""

from services.ledger.job import FINAL, MOVES, UNDER_WAY, Event, Job, KeyReused, State, Submission, TooLate
from services.ledger.ledger import LEASE_S, MAX_ATTEMPTS, Ledger

__all__ = [
    "FINAL",
    "LEASE_S",
    "MAX_ATTEMPTS",
    "MOVES",
    "UNDER_WAY",
    "Event",
    "Job",
    "KeyReused",
    "Ledger",
    "State",
    "Submission",
    "TooLate",
]
