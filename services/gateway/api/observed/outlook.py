"""What will be decided about a canary, and when, at the present rate; and which data is missing for it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from modelyard.models.registry.roles.canary import Canary
from modelyard.services.gateway.http.json_body import Body

if TYPE_CHECKING:
    from modelyard.services.ledger.observations import Analysis, Report

RATE_S = 600.0
"""The rate of answers is that of the last ten minutes."""
LATE = timedelta(seconds=60)
"""After so long without a look canary analysis is thought to be away."""
SILENT = timedelta(seconds=60)
"""And a gateway to be silent, while others report."""
FORGOTTEN = timedelta(minutes=10)
"""After so long it is taken to have ended, as after a restart."""
WHOLE = 100

Next = Literal["step", "promote", "a person decides"]


class Progress(Body):
    """How far the canary is at its present share."""

    step: int = Field(description="How many of its steps have begun; 0 without steps.")
    steps: int
    percent: float
    next_percent: float | None
    compared: int = Field(description="Its answers at this share that were compared with stable's.")
    needed: int
    then: Next = Field(description="What follows if nothing speaks against it.")


class Outlook(Body):
    """Estimates, at the present rate; null where nothing can be said."""

    answers_per_min: float | None = Field(description="Of the canary, in the last ten minutes.")
    answers_left: int
    seconds_left: float | None
    labels_left: int | None = Field(description="About how many more labels until feedback decides.")
    labels_decide: Literal["mistakes", "fit"] | None = Field(
        description="`mistakes`: that it is ended; `fit`: that feedback finds no more mistakes than allowed."
    )


def describe_progress(canary: Canary, report: dict[str, Any]) -> Progress:
    following = canary.next_step
    then: Next = "a person decides"
    if canary.judge != "off" and following:
        then = "step"
    elif canary.judge == "full":
        then = "promote"
    return Progress(
        step=canary.step,
        steps=len(canary.steps),
        percent=canary.percent,
        next_percent=following.percent if following else None,
        compared=report.get("compared", 0),
        needed=canary.needed,
        then=then,
    )


def estimate(progress: Progress, report: dict[str, Any], path: Sequence[Any], now: datetime) -> Outlook:
    """When it will have answered enough, and how many labels it takes."""
    left, rate = max(0, progress.needed - progress.compared), measure_rate(path, now)
    labels = report.get("labels") or {"needed": None, "comparison": None}
    return Outlook(
        answers_per_min=None if rate is None else float(f"{60 * rate:.3g}"),
        answers_left=left,
        seconds_left=left / rate if rate else None,
        labels_left=labels["needed"],
        labels_decide=labels["comparison"],
    )


def measure_rate(path: Sequence[Any], now: datetime) -> float | None:
    """The canary's answers per second lately; None with too little to say."""
    end = now.timestamp()
    recent = [point for point in path if point["at_s"] >= end - RATE_S]
    earlier = [point for point in path if point["at_s"] < end - RATE_S][-1:]
    points = [*earlier, *recent]
    if not recent or not points:
        return 0.0 if path else None
    took = end - points[0]["at_s"]
    return (points[-1]["answers"] - points[0]["answers"]) / took if took > 0 and len(points) > 1 else None


def list_missing(
    canary: Canary, report: dict[str, Any], analysis: "Analysis", reports: "Sequence[Report]", now: datetime
) -> Iterator[str]:
    """What keeps canary analysis from deciding, in sentences; without it nothing is decided either way."""
    if not analysis.has_looked:
        began = (
            "It looks every few seconds." if now - canary.since <= LATE else "It runs in the scheduler: is one running?"
        )
        yield f"Canary analysis has not looked at it yet. {began}"
    elif now - analysis.looked_at > LATE:
        ago = round((now - analysis.looked_at).total_seconds() / 60)
        yield f"Canary analysis last looked {ago} min ago. The scheduler is away; nothing is decided until it is back."
    yield from list_silent(reports)
    if not analysis.revision:
        return
    if canary.percent in (0, WHOLE):
        none = f"version {canary.version}" if canary.percent == 0 else "the stable version"
        yield f"At {canary.percent:g} % {none} gets no requests that could be compared. Give it another share."
    yield from list_uncounted(canary, report)


def list_silent(reports: "Sequence[Report]") -> Iterator[str]:
    """Gateways that reported before, and have not lately, while others do."""
    latest: dict[str, datetime] = {}
    for each in reports:
        latest[each.gateway] = max(each.at, latest.get(each.gateway, each.at))
    newest = max(latest.values(), default=datetime.now(UTC))
    for name, at in latest.items():
        if SILENT < newest - at < FORGOTTEN:
            said = f"Gateway {name} has reported nothing since {at:%H:%M:%S} UTC"
            yield f"{said}: it got no requests, or has ended, or cannot reach the ledger."


def list_uncounted(canary: Canary, report: dict[str, Any]) -> Iterator[str]:
    stable, tried = report.get("stable", {}), report.get("canary", {})
    if not tried.get("answers"):
        yield f"Version {canary.version} has answered nothing yet."
    if not stable.get("answers"):
        yield "The stable version has answered nothing since the canary began: there is nothing to compare with."
    elif (count := report.get("stable_compared", 0)) < report.get("stable_needed", 0):
        wanted = report["stable_needed"]
        yield (
            f"Of the stable version's answers {count} were compared. It takes {wanted} before times are compared, "
            "and before enough answers decide anything."
        )
    if not (stable.get("labelled") and tried.get("labelled")):
        both = not stable.get("labelled") and not tried.get("labelled")
        one = f"version {canary.version}" if stable.get("labelled") else "the stable version"
        none = "either version" if both else one
        yield f"There is no feedback on answers of {none}: mistakes are not compared."
