"""How Kubernetes' horizontal autoscaler and KEDA decide, from the manifests alone, on a clock of the caller's.

Sources: Kubernetes, "Horizontal Pod Autoscaling" (algorithm details, scaling policies, stabilization window); KEDA,
"Scaling Deployments" (polling interval and cool-down, which hold between none and one replica).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.support.kubernetes import Resource

SYNC_S = 15
TOLERANCE = 0.1
NONE: Resource = {"stabilizationWindowSeconds": 0, "policies": []}


@dataclass
class Autoscaler:
    """One that is asked every 15 s, between its least and its most replicas."""

    least: int
    most: int
    behavior: Mapping[str, Resource]
    _wanted: list[tuple[float, int]] = field(default_factory=list)
    """What was recommended when."""
    _changed: list[tuple[float, int]] = field(default_factory=list)
    """By how many replicas it was changed when."""

    def decide(self, now: float, replicas: int, loads: Mapping[float, float]) -> int:
        """Replicas from now on.

        Args:
            loads: sum of each metric over all pods, by its target for one: the one that asks for most wins.
        """
        wanted = max(desire(replicas, load, target) for target, load in loads.items())
        self._wanted.append((now, wanted))
        up, down = (self.behavior.get(name, NONE) for name in ("scaleUp", "scaleDown"))
        lowest = min(each for _, each in self._since(self._wanted, now - up["stabilizationWindowSeconds"]))
        highest = max(each for _, each in self._since(self._wanted, now - down["stabilizationWindowSeconds"]))
        calm = min(max(replicas, lowest), highest)
        if calm > replicas:
            calm = min(calm, max(self._limit(each, now, replicas, 1) for each in up["policies"]))
        elif calm < replicas:
            calm = max(calm, min(self._limit(each, now, replicas, -1) for each in down["policies"]))
        chosen = min(max(calm, self.least), self.most)
        if chosen != replicas:
            self._changed.append((now, chosen - replicas))
        return chosen

    def _limit(self, policy: Resource, now: float, replicas: int, sign: int) -> int:
        """The furthest that a policy lets it go in its period."""
        changes = (by for _, by in self._since(self._changed, now - policy["periodSeconds"]))
        before = replicas - sum(by for by in changes if by * sign > 0)
        if policy["type"] == "Pods":
            return before + sign * int(policy["value"])
        round_off = math.ceil if sign > 0 else math.floor  # else a few replicas would never change
        return round_off(before * (1 + sign * policy["value"] / 100))

    @staticmethod
    def _since(noted: list[tuple[float, int]], begin: float) -> list[tuple[float, int]]:
        return [each for each in noted if each[0] >= begin]


def desire(replicas: int, load: float, target: float) -> int:
    """Replicas for a load, of which each should have the target; small differences change nothing."""
    if replicas and abs(load / (target * replicas) - 1) <= TOLERANCE:
        return replicas
    return math.ceil(load / target)


@dataclass
class Keda:
    """A ScaledObject: between none and one replica it decides, above that the autoscaler that it makes."""

    manifest: Resource
    _active_at: float = float("-inf")
    _hpa: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        spec = self.manifest["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self._hpa = Autoscaler(max(1, spec["minReplicaCount"]), spec["maxReplicaCount"], behavior)

    @property
    def target(self) -> float:
        return float(self.manifest["spec"]["triggers"][0]["metadata"]["targetValue"])

    def decide(self, now: float, replicas: int, load: float) -> int:
        """Replicas from now on."""
        spec = self.manifest["spec"]
        if load > 0:
            self._active_at = now
        if replicas == 0:
            return 1 if load > 0 else spec["minReplicaCount"]
        if load <= 0 and now - self._active_at >= spec["cooldownPeriod"]:
            return int(spec["minReplicaCount"])
        return self._hpa.decide(now, replicas, {self.target: load})


def read_autoscaler(manifest: Resource) -> Autoscaler:
    spec = manifest["spec"]
    return Autoscaler(spec["minReplicas"], spec["maxReplicas"], spec["behavior"])
