"""What is counted of versions, and by which names: the contract between gateways, which count, and who adds up."""

from typing import Literal

Role = Literal["stable", "canary", "shadow"]

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency buckets; one more bucket has no bound."""

TRAFFIC_SLOT_S = 300
"""Length of the slots in which gateways count the traffic of each version."""
Choice = Literal["outcome", "random", "margin", "disagreement", "hand"]
"""Why just this prediction got feedback: what is true of it came to light by itself, whatever the model had said; it
was drawn at random; it was an unsure one, or one that two versions differ on; or somebody had looked at it."""
UNBIASED: tuple[Choice, ...] = ("outcome", "random")
"""Choices that do not depend on what the model said: only these say how often it is right."""


def bucket_name(index: int) -> str:
    """Name of the count of answers within a bucket: ``within_0`` to ``within_12``."""
    return f"within_{index}"
