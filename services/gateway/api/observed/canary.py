"""The evidence about a model's canary, the running one or else the last: each comparison, its path, and the outlook."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from flask import Blueprint
from pydantic import Field

from modelyard.models.registry.history import Change
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import BOUNDS_S, Role, bucket_name
from modelyard.services.gateway.api.observed.outlook import (
    Outlook,
    Progress,
    describe_progress,
    estimate,
    list_missing,
)
from modelyard.services.gateway.api.observed.traffic import estimate_percentile
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.operation import json_view
from modelyard.services.ledger import Ledger

if TYPE_CHECKING:
    from modelyard.services.ledger.observations import Analysis, Report

ENDS = ("end canary", "promote", "rollback")
SHOWN = ("canary", "canary step", *ENDS)
"""Changes of a canary's life."""


class Counted(Body):
    """What a comparison has compared of one version."""

    answers: int
    bad: int


class Comparison(Body):
    """One comparison of both versions."""

    name: Literal["errors", "slow", "mistakes", "fit"]
    evidence: float = Field(description="1 says nothing; it decides when it reaches the bound.")
    bound: float
    decides: Literal["end", "promote"]
    ratio: float = Field(description="How many times stable's rate is what the evidence speaks against.")
    stable: Counted
    canary: Counted


class Arm(Body):
    """One version since the canary began."""

    version: int | None
    answers: int
    errors: int
    within: list[int] = Field(description="Answers by how long they took, in `bounds_s`; the last took longer.")
    p50_s: float | None
    p99_s: float | None
    labelled: int
    mistakes: int


class PathPoint(Body):
    """The evidence at one moment."""

    at: datetime
    answers: int
    labelled: int
    errors: float
    slow: float
    mistakes: float
    fit: float


class Supported(Body):
    """The decision that the evidence supports, whoever may make it."""

    action: Literal["promote", "step", "end"]
    reason: str


class GatewayReport(Body):
    """When a gateway last reported counts of this canary."""

    gateway: str
    at: datetime


class CanaryEvidence(Body):
    """Everything that is known of the running canary, or of the last one; empty where there was none."""

    model: str
    running: bool
    canary: Canary | None
    stable: Arm | None
    tried: Arm | None = Field(description="The canary's own.")
    comparisons: list[Comparison]
    bounds_s: tuple[float, ...] = BOUNDS_S
    slow_above_s: float | None
    path: list[PathPoint] = Field(description="300 points at most, evenly thinned.")
    progress: Progress | None
    outlook: Outlook | None
    supports: Supported | None
    missing: list[str] = Field(description="Which data is missing; it decides nothing.")
    looked_at: datetime | None = Field(description="When canary analysis last looked.")
    gateways: list[GatewayReport]
    changes: list[Change] = Field(description="Of this canary, the oldest first.")
    outcome: Change | None = Field(description="How it ended.")


def routes(store: Store, ledger: Ledger) -> Blueprint:
    """The view of canaries."""
    views = Blueprint("canary", __name__)

    @views.get("/api/models/<model>/canary")
    @json_view(errors=(404,))
    def get_canary(model: str) -> CanaryEvidence:
        """The evidence about the running canary, or about the last one."""
        store.require_versions(model)
        now = read_rollout(store, model)
        return describe_running(model, now, now.canary, ledger) if now.canary else describe_last(model, now, ledger)

    return views


def describe_running(model: str, now: Rollout, canary: Canary, ledger: Ledger) -> CanaryEvidence:
    """Counts are those of now, evidence is that of canary analysis' last look."""
    analysis = ledger.observations.read_analysis(model, canary.since)
    reports = ledger.observations.list_reports(model, canary.since)
    report, moment = dict(analysis.state.get("report", {})), datetime.now(UTC)
    counts = ledger.observations.sum_counts(model, canary.since)
    mistakes = ledger.feedback.count_mistakes(model, canary.since)
    progress = describe_progress(canary, report)
    return CanaryEvidence(
        model=model,
        running=True,
        canary=canary,
        stable=count_arm(now.stable, "stable", counts, mistakes),
        tried=count_arm(canary.version, "canary", counts, mistakes),
        progress=progress,
        outlook=estimate(progress, report, analysis.path, moment),
        missing=list(list_missing(canary, report, analysis, reports, moment)),
        changes=list_changes(now, canary),
        outcome=None,
        **describe_analysis(analysis, report, reports),
    )


def describe_last(model: str, now: Rollout, ledger: Ledger) -> CanaryEvidence:
    """The last canary as canary analysis last saw it, and how it ended."""
    from modelyard.services.ledger.observations import Analysis  # loads SQLAlchemy

    analysis = ledger.observations.find_last_analysis(model) or Analysis()
    report = dict(analysis.state.get("report", {}))
    canary = Canary.model_validate(found) if (found := analysis.state.get("canary")) else None
    changes = list_changes(now, canary) if canary else []
    ended = [change for change in changes if change.action in ENDS]
    return CanaryEvidence(
        model=model,
        running=False,
        canary=canary,
        stable=read_arm(None, report.get("stable")),
        tried=read_arm(canary.version if canary else None, report.get("canary")),
        progress=None,
        outlook=None,
        missing=[],
        changes=changes,
        outcome=ended[0] if ended else None,
        **describe_analysis(analysis, report, ()),
    )


def describe_analysis(analysis: "Analysis", report: Mapping[str, Any], reports: "Sequence[Report]") -> dict[str, Any]:
    """What canary analysis has written down."""
    latest: dict[str, datetime] = {}
    for each in reports:
        latest[each.gateway] = max(each.at, latest.get(each.gateway, each.at))
    return {
        "comparisons": [Comparison.model_validate(found) for found in report.get("comparisons", ())],
        "slow_above_s": report.get("slow_above_s"),
        "path": [read_point(point) for point in analysis.path],
        "supports": Supported.model_validate(found) if (found := report.get("supports")) else None,
        "looked_at": analysis.looked_at if analysis.has_looked else None,
        "gateways": [GatewayReport(gateway=name, at=at) for name, at in sorted(latest.items())],
    }


def read_point(point: Mapping[str, float]) -> PathPoint:
    rest = {name: value for name, value in point.items() if name != "at_s"}
    return PathPoint.model_validate({"at": datetime.fromtimestamp(point["at_s"], UTC), **rest})


def list_changes(now: Rollout, canary: Canary) -> list[Change]:
    """Its life, from the rollout's history, up to its end."""
    later = [change for change in now.history if change.at >= canary.since and change.action in SHOWN]
    found = [change for change in later if change.version == canary.version or change.action == "rollback"]
    ends = [index for index, change in enumerate(found) if change.action in ENDS]
    return found[: ends[0] + 1] if ends else found


def count_arm(
    version: int | None,
    role: Role,
    counts: Mapping[Role, Counter[str]],
    mistakes: Mapping[int, tuple[int, int]],
) -> Arm:
    """What gateways have counted until now."""
    found, (labelled, wrong) = counts.get(role, Counter()), mistakes.get(version or 0, (0, 0))
    within = [int(found.get(bucket_name(index), 0)) for index in range(len(BOUNDS_S) + 1)]
    sums = {"answers": int(found["answers"]), "errors": int(found["errors"]), "within": within}
    return make_arm(version, {**sums, "labelled": labelled, "mistakes": wrong})


def read_arm(version: int | None, sums: Mapping[str, Any] | None) -> Arm | None:
    return make_arm(version, sums) if sums else None


def make_arm(version: int | None, sums: Mapping[str, Any]) -> Arm:
    within = list(sums["within"])
    percentiles = {"p50_s": estimate_percentile(within, 0.5), "p99_s": estimate_percentile(within, 0.99)}
    return Arm(version=version, **{**sums, "within": within}, **percentiles)
