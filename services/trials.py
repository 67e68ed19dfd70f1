"""What is counted of a canary and a shadow, by name: the contract between those who observe and those who judge."""

from typing import Literal

Role = Literal["stable", "canary", "shadow"]

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency buckets; one more bucket has no bound."""


def bucket(index: int) -> str:
    """Name of the count of answers within a bucket: ``within_0`` to ``within_12``."""
    return f"within_{index}"
