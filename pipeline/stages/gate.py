"""Decides whether a version may be published. A rejection is a result, not an error."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from modelyard.models.registry.manifest import Verdict
from modelyard.models.spec import Gate
from modelyard.models.types import Direction, Source


@dataclass(frozen=True)
class Champion:
    """The serving version, and its metric on the same test split as the new version's."""

    version: int
    value: float | None
    """None if it cannot be measured there: it takes other inputs, or has other labels."""
    source: Source
    """The data that it was trained on."""


def judge(
    gate: Gate,
    source: Source,
    value: float | None,
    champion: Champion | None = None,
    *,
    direction: Direction = "higher",
    simplest: float | None = None,
    ece: float | None = None,
) -> Verdict:
    """Compares a version's test metric with the gate's limit and with the serving version.

    Args:
        gate: the model's rule.
        source: the version's data; a sample may have a limit of its own.
        value: the gate's metric on the test split; None where it is no finite number,
            which no limit lets through.
        champion: the serving version, if there is one.
        direction: whether more or less of the metric is better.
        simplest: the metric of the simplest answer, which is the limit if the gate has none.
        ece: the version's expected calibration error on the test split, if it has probabilities.
    """
    if value is None or not math.isfinite(value):
        return _record(gate, (f"{gate.metric} is no finite number",), None, champion, accepted=False)
    worse = _Comparison(gate, direction)
    objections = [
        *worse.list_limit_objections(source, value, simplest),
        *worse.list_champion_objections(value, champion),
        *list_source_objections(source, champion),
    ]
    sureness, is_sure = judge_calibration(gate, source, ece)
    objections += sureness if not is_sure else []
    reasons = objections or [*worse.list_reasons(source, value, champion, simplest), *sureness]
    return _record(gate, tuple(reasons), value, champion, accepted=not objections)


def _record(
    gate: Gate, reasons: tuple[str, ...], value: float | None, champion: Champion | None, *, accepted: bool
) -> Verdict:
    return Verdict(
        accepted=accepted,
        reasons=reasons,
        metric=gate.metric,
        value=value,
        champion=champion.version if champion else None,
        champion_value=champion.value if champion else None,
    )


def judge_calibration(gate: Gate, source: Source, ece: float | None) -> tuple[list[str], bool]:
    """What is to be said of the calibration error, if the gate limits it, and whether it is small enough."""
    if gate.max_ece is None or source == "sample" or ece is None:
        return [], True
    if ece <= gate.max_ece:
        return [f"ece {ece:.4f} is within {gate.max_ece:.4f}"], True
    return [f"ece {ece:.4f} is above the maximum {gate.max_ece:.4f}: probabilities are not as sure as they say"], False


def list_source_objections(source: Source, champion: Champion | None) -> Iterator[str]:
    """A sample never replaces the real data."""
    if champion and source == "sample" and champion.source == "real":
        yield f"trained on the sample, while version {champion.version} was trained on the real data"


class _Comparison:
    """Compares values of the gate's metric."""

    def __init__(self, gate: Gate, direction: Direction) -> None:
        self._gate, self._higher = gate, direction == "higher"
        self._limit, self._beyond = ("floor", "below") if self._higher else ("ceiling", "above")

    def _is_worse(self, value: float, other: float) -> bool:
        return not (value >= other if self._higher else value <= other)

    def list_limit_objections(self, source: Source, value: float, simplest: float | None) -> Iterator[str]:
        metric, limit = self._gate.metric, self._gate.limit(source)
        if limit is not None and self._is_worse(value, limit):
            yield f"{metric} {value:.4f} is {self._beyond} the {self._limit} {limit:.4f}"
        elif limit is None and simplest is not None and not self._is_worse(simplest, value):
            yield f"{metric} {value:.4f} is no better than the {simplest:.4f} of the simplest answer"

    def list_champion_objections(self, value: float, champion: Champion | None) -> Iterator[str]:
        if champion is None or champion.value is None:
            return
        drop = self._gate.max_drop
        if self._is_worse(value, champion.value - drop if self._higher else champion.value + drop):
            yield (
                f"{self._gate.metric} {value:.4f} is more than {drop:.4f} {self._beyond} the "
                f"{champion.value:.4f} of version {champion.version} on the same test data"
            )

    def list_reasons(
        self, source: Source, value: float, champion: Champion | None, simplest: float | None
    ) -> Iterator[str]:
        limit = self._gate.limit(source)
        if limit is not None:
            yield f"{self._gate.metric} {value:.4f} reaches the {self._limit} {limit:.4f}"
        elif simplest is not None:
            yield f"{self._gate.metric} {value:.4f} is better than the {simplest:.4f} of the simplest answer"
        if champion and champion.value is not None:
            allowed = f"{'less' if self._higher else 'plus'} {self._gate.max_drop:.4f} allowed"
            yield f"version {champion.version} has {champion.value:.4f} on the same test data, {allowed}"
