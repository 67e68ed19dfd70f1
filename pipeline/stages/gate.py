"""Decides whether a version may be published. A rejection is a result, not an error."""

from modelyard.models.registry.manifest import Verdict
from modelyard.models.spec import Gate
from modelyard.models.types import Source


def judge(
    gate: Gate,
    source: Source,
    value: float,
    champion: int | None = None,
    champion_value: float | None = None,
    champion_source: Source | None = None,
) -> Verdict:
    """Compares a version's test metric with the floor and with the serving version.

    Args:
        gate: the model's rule.
        source: the version's data; a sample has a floor of its own.
        value: the gate's metric on the test split.
        champion: the serving version, if there is one.
        champion_value: its metric on the same test split.
        champion_source: the data that the champion was trained on.
    """
    floor = gate.sample_floor if source == "sample" else gate.floor
    objections, reasons = [], []
    if value >= floor:
        reasons.append(f"{gate.metric} {value:.4f} reaches the floor {floor:.4f}")
    else:
        objections.append(f"{gate.metric} {value:.4f} is below the floor {floor:.4f}")
    if champion is not None and champion_value is not None:
        if value >= champion_value - gate.max_drop:
            reasons.append(f"version {champion} has {champion_value:.4f} on the same test data")
        else:
            objections.append(
                f"{gate.metric} {value:.4f} is more than {gate.max_drop:.4f} below the "
                f"{champion_value:.4f} of version {champion} on the same test data"
            )
    if source == "sample" and champion_source == "real":
        objections.append(f"trained on the sample, while version {champion} was trained on the real data")
    return Verdict(
        accepted=not objections,
        reasons=tuple(objections or reasons),
        metric=gate.metric,
        value=value,
        champion=champion,
        champion_value=champion_value,
    )
