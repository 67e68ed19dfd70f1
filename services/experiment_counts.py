"""Names of the counts of versions: the contract between gateways, which count, and who adds them up."""

from typing import Literal

Role = Literal["stable", "canary", "shadow"]

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency buckets; one more bucket has no bound."""

TRAFFIC_SLOT_S = 300
"""Length of the slots in which gateways count the traffic of each version."""


def bucket_name(index: int) -> str:
    """Name of the count of answers within a bucket: ``within_0`` to ``within_12``."""
    return f"within_{index}"
