"""What a version's page shows of its record: the serving version beside it, its data, and what became of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.models.metrics import METRICS
from modelyard.services.gateway.console.templates import format_percent

MAX_CHANGES = 10
"""Classes that are shown beside those of the serving version: those that changed most."""
MAX_CARD = 20
"""Classes and inputs of a data card."""
WORDS = ("purpose", "made_for", "not_made_for", "limits", "about_data", "license", "contact")
"""What an author may say in a model card."""
GROUPS: Mapping[str, str] = {
    "made for": "What it is made for",
    "beyond": "Beyond what it is made for",
    "other": "None of its kind",
}
ACTIONS: Mapping[str, str] = {
    "promote": "Made stable",
    "rollback": "Rolled back",
    "canary": "Canary",
    "end canary": "Canary ended",
    "shadow": "Shadow",
    "end shadow": "Shadow ended",
    "label": "Label given",
    "unlabel": "Label removed",
    "reject": "Not promoted",
    "import": "Imported",
    "remove": "Deleted",
}


def describe_comparison(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """This version beside the one that served; None if there was none, or the two cannot be compared."""
    champion = evaluation["champion"]
    if champion is None:
        return None
    better = METRICS[record["task"]]
    measure = "mae" if record["task"] == "regression" else "f1"
    changes = [
        {"label": label, "now": values[measure], "before": champion["per_class"][label][measure]}
        for label, values in evaluation["per_class"].items()
        if measure in values and measure in champion["per_class"].get(label, {})
    ]
    changes = [change | {"change": change["now"] - change["before"]} for change in changes]
    changed = sorted((change for change in changes if change["change"]), key=lambda change: -abs(change["change"]))
    return {
        "version": champion["version"],
        "mended": champion["mended"],
        "broken": champion["broken"],
        "metrics": [
            {"name": name, "now": value, "before": champion["metrics"].get(name)}
            | judge_change(better.get(name), value, champion["metrics"].get(name))
            for name, value in evaluation["metrics"].items()
        ],
        "measure": measure,
        "changes": [
            change | judge_change(better.get(measure, "higher"), change["now"], change["before"])
            for change in changed[:MAX_CHANGES]
        ],
        "unchanged": len(changes) - len(changed),
        "hidden": max(0, len(changed) - MAX_CHANGES),
    }


def judge_change(better: str | None, now: float, before: float | None) -> dict[str, Any]:
    """The difference, and whether it is for the better; neither where it is not known."""
    if before is None:
        return {"change": None, "tone": "", "word": ""}
    change = now - before
    if better is None or not change:
        return {"change": change, "tone": "", "word": "" if change else "same"}
    good = (change > 0) == (better == "higher")
    return {"change": change, "tone": "good" if good else "bad", "word": "better" if good else "worse"}


def describe_card(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data card as far as a page shows it; None where there is none."""
    card = record["data_card"]
    if card is None:
        return None
    classes = [{"label": label, **parts, "all": sum(parts.values())} for label, parts in card["classes"].items()]
    classes.sort(key=lambda one: -one["all"])
    columns = sorted(card["columns"].items(), key=lambda item: -item[1]["missing"])
    return {
        "classes": classes[:MAX_CARD],
        "more_classes": max(0, len(classes) - MAX_CARD),
        "most": max((one["all"] for one in classes), default=0),
        "parts": list(card["rows"]),
        "columns": columns[:MAX_CARD],
        "more_columns": max(0, len(columns) - MAX_CARD),
        "targets": list(card["targets"].items())[:MAX_CARD],
    }


def describe_model_card(card: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The author's words, and the measured kinds by group; None where there are neither."""
    if card is None or not (card["measured"] or any(card[name] for name in WORDS)):
        return None
    measured = card["measured"]
    groups: list[dict[str, Any]] = [
        {"title": title, "kinds": [each for each in measured["kinds"] if each["group"] == group] if measured else []}
        for group, title in GROUPS.items()
    ]
    for group in groups:
        group["names"] = list(dict.fromkeys(name for each in group["kinds"] for name in each["measures"]))
    shown = [group for group in groups if group["kinds"]]
    return {name: card[name] for name in WORDS} | {"measured": measured, "groups": shown}


def list_events(record: Mapping[str, Any], job: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The decision record as a timeline, the oldest first: what, when, who, why."""
    data, recipe, imported = record["data"], record["recipe"], record["imported"]
    if data:
        size = (
            f"{data['train']:,} examples to train on, {data['validation']:,} to choose by, {data['test']:,} to test on"
        )
        yield make_event("Data", None, "", f"{data['name']} ({data['source']}): {size}")
    if imported:
        yield make_event("Found", None, "", f"{imported['form']} {imported['path']}")
    if record["job"]:
        at, by = (job["created_at"], job["by"]) if job else (None, "")
        yield make_event("Job", at, by, f"recipe {recipe['name']}" if recipe else "", job=record["job"])
    elif recipe:
        yield make_event("Training", None, "", f"recipe {recipe['name']}, without the queue")
    verdict = record["verdict"]
    tone = "good" if verdict["accepted"] else "bad"
    word = "Gate: passed" if verdict["accepted"] else "Gate: not passed"
    yield make_event(word, None, "", "; ".join(verdict["reasons"]), tone=tone)
    yield make_event("Published", record["created_at"], "", f"as version {record['version']}")
    for change in record["changes"]:
        yield make_event(
            describe_action(change, record["version"]), change["at"], change["by"], change["reason"], tone="busy"
        )


def make_event(
    title: str, at: str | None, by: str, why: str, *, job: str | None = None, tone: str = ""
) -> dict[str, Any]:
    return {"title": title, "at": at, "by": by, "why": why, "job": job, "tone": tone}


def describe_action(change: Mapping[str, Any], version: int) -> str:
    """A change of the rollout, from this version's side."""
    detail, word = change["detail"], ACTIONS.get(change["action"], change["action"].capitalize())
    if change["version"] != version:
        return f"{word} to version {change['version']}"
    if change["action"] == "canary" and "percent" in detail:
        return f"{word} of {format_percent(detail['percent'] / 100, 0)}"
    if change["action"] == "rollback":
        return f"Stable again, in place of version {detail.get('from')}"
    return f"{word}: {detail['label']}" if "label" in detail else word
