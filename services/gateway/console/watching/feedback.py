"""The page of a model's drift and feedback: what comes in against what it was trained on, and what was right."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from flask import Blueprint, Response, request

from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages, format_number

CHECK, MOVED = 0.1, 0.25
"""Population stability indices that are usually taken for a shift worth a check, and for one worth a new model."""
SIGNIFICANCE = 0.01
MIN_ANSWERS = 200
"""Captured predictions below which drift is not measured."""
DAYS = (7, 30, 90)


class Bin(NamedTuple):
    """One bin of a histogram: shares of all, 0..1."""

    name: str
    reference: float
    seen: float


class Series(NamedTuple):
    """One input or answer."""

    name: str
    psi: float
    p_value: float | None
    words: str
    tone: str
    bins: Sequence[Bin]
    highest: float
    """The largest share of a bin."""


class Day(NamedTuple):
    """All versions' predictions on one day."""

    day: str
    right: int
    wrong: int
    numbers: int
    biased: int
    unlabelled: int
    mean_error: float | None

    @property
    def judged(self) -> int:
        return self.right + self.wrong


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models/<model>/feedback``."""
    api = PublicApi()

    @views.get("/models/<model>/feedback")
    def show_feedback(model: str) -> Response:
        drift = api.get(f"/api/models/{model}/drift")
        given = {"days": request.args.get("days", "30"), "version": request.args.get("version") or None}
        found = api.find(f"/api/models/{model}/feedback", **given)
        rollout = api.get(f"/api/models/{model}/rollout")
        return pages.render(
            "feedback.html",
            current="models",
            model=model,
            stable=rollout["stable"],
            canary=rollout["canary"]["version"] if rollout["canary"] else None,
            drift=drift,
            series=list(read_series(drift["shifts"], found["classes"] if found else ())),
            found=found,
            days=list(add_days(found["days"])) if found else [],
            chosen=given,
            spans=DAYS,
            measured=count_captured(found["days"], rollout["stable"]) if found else 0,
            least=MIN_ANSWERS,
        )


def read_series(shifts: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> Iterator[Series]:
    """As they come: the largest shift first."""
    for name, shift in shifts.items():
        bins = list(read_bins(shift, classes if name == "answer class" else ()))
        highest = max((max(one.reference, one.seen) for one in bins), default=1.0)
        words, tone = describe_shift(shift["psi"], shift["p_value"], len(shifts))
        yield Series(name, shift["psi"], shift["p_value"], words, tone, bins, highest or 1.0)


def describe_shift(psi: float, p_value: float | None, count: int) -> tuple[str, str]:
    """How much is much, in words, and a colour. Of many that were looked at, some move by chance (Bonferroni)."""
    if p_value is not None and p_value * count >= SIGNIFICANCE:
        return ("about as in training", "good") if psi < CHECK else ("may be chance", "")
    if psi < CHECK:
        return "about as in training", "good"
    return ("has moved", "warn") if psi < MOVED else ("has moved far", "bad")


def read_bins(shift: Mapping[str, Any], classes: Sequence[str]) -> Iterator[Bin]:
    """Shares by bin; none where the counts are not known."""
    reference, seen = shift["reference"], shift["seen"]
    if not reference or not seen:
        return
    names = list(name_bins(shift, len(reference), classes))
    for name, before, now in zip(names, reference, seen, strict=True):
        yield Bin(name, before / (sum(reference) or 1), now / (sum(seen) or 1))


def name_bins(shift: Mapping[str, Any], count: int, classes: Sequence[str]) -> Iterator[str]:
    if len(classes) == count:
        yield from classes
    elif shift["edges"] is None:
        yield from (*shift["values"], "all others", "missing")[:count]
    else:
        edges = [format_number(edge) for edge in shift["edges"]]
        yield f"below {edges[0]}"
        yield from (f"{low} to {high}" for low, high in pairwise(edges))
        yield f"{edges[-1]} and above"
        if shift["missing"]:
            yield "missing"


def add_days(days: Sequence[Mapping[str, Any]]) -> Iterator[Day]:
    """Sums over versions."""
    for day, several in groupby(days, key=lambda one: one["day"]):
        rows = list(several)
        sums = {name: sum(row[name] for row in rows) for name in ("right", "wrong", "numbers", "biased", "unlabelled")}
        errors = [(row["mean_error"], row["numbers"]) for row in rows if row["mean_error"] is not None]
        total = sum(count for _, count in errors)
        mean = sum(error * count for error, count in errors) / total if total else None
        yield Day(day=day, mean_error=mean, **sums)


def count_captured(days: Sequence[Mapping[str, Any]], version: int | None) -> int:
    """Captured predictions of a version."""
    counted = ("right", "wrong", "numbers", "biased", "unlabelled")
    return sum(day[name] for day in days if day["version"] == version for name in counted)
