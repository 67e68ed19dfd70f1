"""The page of a model's triggers: what each is set for, how near it is, and what its firings became."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import NOTHING, Pages, format_duration, format_number, format_percent

OUTCOMES: Mapping[str, tuple[str, str]] = {
    "succeeded": ("good", "\N{CHECK MARK}"),
    "rejected": ("warn", "\N{HEAVY EXCLAMATION MARK SYMBOL}"),
    "failed": ("bad", "\N{MULTIPLICATION X}"),
    "cancelled": ("off", "\N{EN DASH}"),
}
"""Colour and sign of a job that ended; any other one has not."""
BUSY = ("busy", "\N{MIDDLE DOT}")


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models/<model>/triggers``."""
    api = PublicApi()

    @views.get("/models/<model>/triggers")
    def show_triggers(model: str) -> Response:
        found = api.get(f"/api/models/{model}/triggers")["triggers"]
        return pages.render(
            "triggers.html",
            current="models",
            module="triggers",
            model=model,
            triggers=[describe(trigger) for trigger in found],
            outcomes=OUTCOMES,
            busy=BUSY,
        )


def describe(trigger: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one."""
    kind = next((name for name in ("cron", "feedback", "quality", "psi") if trigger.get(name) is not None), "")
    condition = trigger["condition"]
    return {
        **trigger,
        "kind": kind,
        "when": describe_when(trigger, kind),
        "now": describe_value(kind, condition and condition["value"]),
        "nearness": measure_nearness(kind, condition),
        "pause": format_duration(trigger.get("cooldown_s", 86_400)),
        "as_set": {name: trigger[name] for name in (kind, "job", "cooldown_s", "per_week") if name in trigger},
    }


def describe_when(trigger: Mapping[str, Any], kind: str) -> str:
    """Its condition in words."""
    if kind == "quality":
        quality = trigger["quality"]
        return f"fewer than {format_percent(quality['floor'])} of the newest {quality.get('of', 200)} labels are right"
    words = {
        "cron": f"at {trigger.get('cron')} (UTC)",
        "feedback": f"after {format_number(trigger.get('feedback'))} more predictions with feedback",
        "psi": f"when drift is above {format_number(trigger.get('psi'))}",
    }
    return words.get(kind, "a condition of another release")


def describe_value(kind: str, value: float | None) -> str:
    """The value that the condition compares."""
    if value is None:
        return NOTHING
    return format_percent(value) if kind == "quality" else format_number(value)


def measure_nearness(kind: str, condition: Mapping[str, Any] | None) -> float | None:
    """How near it is to firing, 0..1; None where that is no question of a number."""
    if not condition or condition["value"] is None or not condition["limit"]:
        return None
    value, limit = condition["value"], condition["limit"]
    near = (1 - value) / (1 - limit) if kind == "quality" else value / limit
    return float(min(max(near, 0.0), 1.0))
