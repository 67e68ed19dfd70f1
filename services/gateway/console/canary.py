"""A canary's page: the evidence against its bounds, both versions side by side, and what is decided when."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response

from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages, format_duration, format_number

TITLES = {
    "errors": "Failed answers",
    "slow": "Slow answers",
    "mistakes": "Mistakes by feedback",
    "fit": "No more mistakes than allowed",
}
CLAIMS = {
    "errors": "it fails more than twice as often",
    "slow": "it is slow more than twice as often",
    "mistakes": "it is wrong more often",
    "fit": "it is wrong less than 1.25 times as often",
}
"""What the evidence of each comparison is for."""
WIDTH, HEIGHT = 560, 132
"""Of the picture of times, in its own units."""


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models/<model>/canary``."""
    api = PublicApi()

    @views.get("/models/<model>/canary")
    def show_canary(model: str) -> Response:
        record, found = api.get(f"/api/models/{model}"), None
        if not record["is_foreign"]:
            found = api.get(f"/api/models/{model}/canary")
        return pages.render(
            "canary.html",
            current="models",
            module="canary",
            name=model,
            record=record,
            found=found,
            verdict=describe_verdict(found) if found else "",
            comparisons=[describe(one) for one in found["comparisons"]] if found else [],
            times=draw_times(found) if found else None,
        )


def describe(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison in words, and how far its evidence is on the way to the bound, from 0 to 1."""
    name, evidence, bound = comparison["name"], comparison["evidence"], comparison["bound"]
    way = min(1.0, max(0.0, math.log(max(evidence, 1.0)) / math.log(bound)))
    sides = {side: rate(comparison[side]) for side in ("stable", "canary")}
    return {**comparison, "title": TITLES[name], "claim": CLAIMS[name], "way": way, "rates": sides}


def rate(counted: Mapping[str, int]) -> float | None:
    return counted["bad"] / counted["answers"] if counted["answers"] else None


def describe_verdict(found: Mapping[str, Any]) -> str:
    """In a sentence or two: how it stands, what follows, and when."""
    if not found["running"]:
        return ""
    canary, progress, outlook, supports = (found[name] for name in ("canary", "progress", "outlook", "supports"))
    if supports and supports["action"] == "promote" and canary["judge"] != "full":
        return f"It has passed: {supports['reason']}. Whether it is promoted is for a person to decide."
    if supports and canary["judge"] == "off":
        return f"The evidence is in: {supports['reason']}. A person decides."
    left, then = outlook["answers_left"], describe_next(progress)
    if not left:
        return f"Nothing speaks against it. {then} once enough of the stable version's answers were compared too."
    when = f"about {format_duration(seconds)} at the present rate" if (seconds := outlook["seconds_left"]) else ""
    pace = f" ({when})" if when else " (at present none come)" if outlook["answers_per_min"] == 0 else ""
    return f"Nothing speaks against it so far. {then} after {format_number(left)} more answers{pace}."


def describe_next(progress: Mapping[str, Any]) -> str:
    if progress["then"] == "step":
        return f"Its share rises to {progress['next_percent']:g} %"
    return "It is promoted" if progress["then"] == "promote" else "A person decides about it"


def draw_times(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Both versions' times as bars, of each version's answers; None without any."""
    arms = {"stable": found["stable"], "canary": found["tried"]}
    if not any(arm and sum(arm["within"]) for arm in arms.values()):
        return None
    shares = {role: share(arm["within"] if arm else ()) for role, arm in arms.items()}
    labels = [format_bound(bound) for bound in found["bounds_s"]]
    labels = [f"≤ {label}" for label in labels] + [f"> {labels[-1]}"]
    used = [index for index in range(len(labels)) if any(side[index : index + 1] > [0] for side in shares.values())]
    shown = range(max(0, min(used) - 1), min(len(labels), max(used) + 2))
    top = max(side[index] for side in shares.values() if side for index in shown)
    slot = WIDTH / len(shown)
    bars = [
        {
            "label": labels[index],
            "x": round(place * slot, 1),
            "width": round(slot, 1),
            "sides": {
                role: {"share": side[index], "height": round(side[index] / top * HEIGHT, 1)}
                for role, side in shares.items()
                if side
            },
        }
        for place, index in enumerate(shown)
    ]
    return {"bars": bars, "width": WIDTH, "height": HEIGHT, "bar": round(slot * 0.36, 1)}


def share(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else []


def format_bound(seconds: float) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"
