"""The traffic of each version in the last hour and day, over all gateways, with what feedback says of its answers."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from flask import Blueprint
from pydantic import Field

from modelyard.models.errors import StorageFailed
from modelyard.services.experiment_counts import BOUNDS_S, bucket_name
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.ledger import Ledger

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Counts = dict[tuple[str, int], Counter[str]]
"""By model and version."""


class VersionTraffic(Body):
    """One version in a span of time."""

    version: int
    requests: int
    errors: int = Field(description="Answers 5xx: the model's or the gateway's.")
    refused: int = Field(description="Answers 4xx: the client's.")
    p50_s: float | None = Field(description="Estimated within the buckets of `bounds_s`, as `p99_s`.")
    p99_s: float | None
    within: list[int] = Field(description="Answers by how long they took, in `bounds_s`; the last took longer.")
    labelled: int = Field(description="Feedback in this time on its answers that says right or wrong.")
    right: int
    accuracy: float | None = Field(description="Of the answers with feedback; null without any.")


class ModelTraffic(Body):
    """A model's versions; only those that were asked, or had feedback."""

    model: str
    hour: list[VersionTraffic]
    day: list[VersionTraffic]
    bounds_s: tuple[float, ...] = BOUNDS_S
    complete: bool = Field(description="False while the ledger is away: then only this gateway's requests are counted.")


class AllTraffic(Body):
    """All models that the caller may see."""

    models: list[ModelTraffic]


def routes(predictor: Predictor, ledger: Ledger) -> Blueprint:
    """The views of traffic."""
    views = Blueprint("traffic", __name__)

    @views.get("/api/traffic")
    @json_view()
    def list_traffic() -> AllTraffic:
        """Each model's traffic by version, in the last hour and day."""
        principal = current_principal()
        return AllTraffic(
            models=gather([m for m in predictor.list_models() if principal.can_see(m)], predictor, ledger)
        )

    @views.get("/api/models/<model>/traffic")
    @json_view(errors=(404,))
    def get_traffic(model: str) -> ModelTraffic:
        """One model's traffic by version, in the last hour and day."""
        (found,) = gather([model], predictor, ledger)
        return found

    return views


def gather(models: Sequence[str], predictor: Predictor, ledger: Ledger) -> list[ModelTraffic]:
    """Traffic of these models: of other gateways from the ledger, of this one from memory too."""
    now = datetime.now(UTC)
    hour, day = (sum_own(predictor, now - span, models) for span in (HOUR, DAY))
    complete, feedback = True, {span: dict[tuple[str, int], tuple[int, int]]() for span in (HOUR, DAY)}
    if ledger.exists():
        try:
            for counts, span in ((hour, HOUR), (day, DAY)):
                add_up(counts, ledger.observations.sum_traffic(models, now - span, besides=predictor.traffic.gateway))
                feedback[span] = dict(ledger.feedback.count_by_version(models, now - span))
        except StorageFailed:
            complete = False
    return [
        ModelTraffic(
            model=model,
            hour=list_versions(model, hour, feedback[HOUR]),
            day=list_versions(model, day, feedback[DAY]),
            complete=complete,
        )
        for model in models
    ]


def sum_own(predictor: Predictor, since: datetime, models: Collection[str]) -> Counts:
    """What this gateway has counted."""
    found = predictor.traffic.traffic.sum_since(since.timestamp())
    return {key: counts for key, counts in found.items() if key[0] in models}


def add_up(counts: Counts, others: Mapping[tuple[str, int], Counter[str]]) -> None:
    for key, more in others.items():
        counts.setdefault(key, Counter()).update(more)


def list_versions(
    model: str, counts: Counts, feedback: Mapping[tuple[str, int], tuple[int, int]]
) -> list[VersionTraffic]:
    """The newest version first."""
    versions = sorted({version for name, version in {*counts, *feedback} if name == model}, reverse=True)
    return [
        describe(version, counts.get((model, version), Counter()), *feedback.get((model, version), (0, 0)))
        for version in versions
    ]


def describe(version: int, counts: Counter[str], labelled: int, wrong: int) -> VersionTraffic:
    within = [counts[bucket_name(index)] for index in range(len(BOUNDS_S) + 1)]
    return VersionTraffic(
        version=version,
        requests=counts["requests"],
        errors=counts["errors"],
        refused=counts["refused"],
        p50_s=estimate_percentile(within, 0.5),
        p99_s=estimate_percentile(within, 0.99),
        within=within,
        labelled=labelled,
        right=labelled - wrong,
        accuracy=1 - wrong / labelled if labelled else None,
    )


def estimate_percentile(within: Sequence[int], share: float) -> float | None:
    """The time that this share of the answers took at most, in seconds; None without answers.

    Evenly spread within its bucket; of the last, which has no bound, its beginning.
    """
    wanted = share * sum(within)
    if not wanted:
        return None
    below, before = 0.0, 0
    for bound, count in zip(BOUNDS_S, within, strict=False):
        if before + count >= wanted:
            return float(f"{below + (bound - below) * (wanted - before) / count:.3g}")
        below, before = bound, before + count
    return BOUNDS_S[-1]
