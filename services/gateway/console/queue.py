"""Pages of what is trained: the queue with its workers, a form for a new job, and searches."""

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request

from modelyard.services.gateway.auth.permissions import Permission
from modelyard.services.gateway.auth.principal import current_principal
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import NOTHING, Pages, format_number

FIRST_KEYS = ("epochs", "learning_rate", "batch_size")
"""Fields of the form that stand first; the others are behind one click, unless a search tries them."""


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/queue``, ``/searches`` and ``/searches/ID``."""
    api = PublicApi()

    @views.get("/queue")
    def queue() -> Response:
        found, problem = api.attempt("/api/queue")
        workers, _ = api.attempt("/api/workers")
        return pages.render(
            "queue.html",
            current="queue",
            module="queue",
            queue=found,
            problem=problem,
            workers=workers["workers"] if workers else [],
            runs={job["id"]: job["model"] for job in found["running"]} if found else {},
            form=read_form(api) if current_principal().may(Permission.TRAIN) else None,
        )

    @views.get("/searches")
    def searches() -> Response:
        found, problem = api.attempt("/api/searches")
        listed = found["searches"] if found else []
        return pages.render(
            "searches.html",
            current="searches",
            problem=problem,
            searches=[(one, count_trainings(one), find_best(one)) for one in listed],
        )

    @views.get("/searches/<search_id>")
    def search(search_id: str) -> Response:
        found = api.get(f"/api/searches/{search_id}")
        return pages.render(
            "search.html",
            current="searches",
            module="search",
            search=found,
            done=count_trainings(found),
            keys=list_keys(found["values"]),
            magnitudes=list_magnitudes(api, found["model"]),
            rungs=[explain_rung(found, number) for number in range(len(found["rungs"]))],
            trials=list_trials(found),
        )


# --- The form for a new job -----------------------------------------------------------------------------------------


def read_form(api: PublicApi) -> dict[str, Any]:
    """What the form for a new job offers, by the model and recipe that the address names."""
    known, problem = api.attempt("/api/models")
    trainable = known["trainable"] if known else []
    form: dict[str, Any] = {"problem": problem, "models": trainable, "model": "", "recipes": [], "recipe": ""}
    if not trainable:
        return form
    model = request.args.get("model", trainable[0])
    if model not in trainable:
        return form | {"problem": f"There is no model {model} that can be trained. Choose another one."}
    found, problem = api.attempt(f"/api/models/{model}/recipes")
    if found is None:
        return form | {"model": model, "problem": problem}
    recipes = {one["name"]: one["fields"] for one in found["recipes"]}
    recipe = request.args.get("recipe", next(iter(recipes), ""))
    if recipe not in recipes:
        problem, recipe = (
            f"{model} has no recipe {recipe}; {next(iter(recipes), 'none')} is chosen.",
            next(iter(recipes), ""),
        )
    kind = "search" if request.args.get("kind") == "search" else "job"
    first, rest = split_fields(recipes.get(recipe, []), found["search"]["keys"], kind)
    return form | {
        "model": model,
        "problem": problem,
        "summary": found["summary"],
        "recipes": list(recipes),
        "recipe": recipe,
        "first": first,
        "rest": rest,
        "search": found["search"],
        "kind": kind,
        "ranges": {key: describe_span(span) for key, span in found["search"]["keys"].items()},
    }


def split_fields(
    fields: Sequence[Mapping[str, Any]], searched: Mapping[str, Any], kind: str
) -> tuple[list[Any], list[Any]]:
    """Those that people change most, and the others: what a search tries is rarely fixed for all its trials."""
    tried = [field for field in fields if field["name"] in searched]
    first = [field for key in FIRST_KEYS for field in fields if field["name"] == key]
    if kind == "search":
        first = [field for field in first if field not in tried]
    else:
        first += [field for field in tried if field not in first]
    return first, [field for field in fields if field not in first]


def describe_span(span: Mapping[str, Any]) -> str:
    """A range that a search samples from, in words."""
    if span["kind"] == "choice":
        return ", ".join(str(value) for value in span["values"])
    words = f"{format_number(span['low'])} to {format_number(span['high'])}"
    return f"{words}, by magnitude" if span["kind"] == "log" else words


# --- Searches -------------------------------------------------------------------------------------------------------


def count_trainings(search: Mapping[str, Any]) -> dict[str, int]:
    """How many of a search's trainings have ended, of all; and its trials."""
    ended = sum(count for state, count in search["jobs"].items() if state not in ("queued", "running", "publishing"))
    total = sum(rung["trials"] for rung in search["rungs"])
    return {"ended": ended, "total": total, "trials": len(search["values"])}


def list_keys(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values differ between trials; all of them if none does."""
    keys = list(values[0]) if values else []
    differing = [key for key in keys if len({str(one[key]) for one in values}) > 1]
    return differing or keys


def list_magnitudes(api: PublicApi, model: str) -> list[str]:
    """Keys that are drawn evenly by magnitude, whose axes are logarithmic; none if nobody trains the model any more."""
    found, _ = api.attempt(f"/api/models/{model}/recipes")
    return [key for key, span in found["search"]["keys"].items() if span["kind"] == "log"] if found else []


def find_best(search: Mapping[str, Any]) -> float | None:
    """The best value so far, of the last rung that has any: a longer training is not compared with a shorter one."""
    for rung in reversed(search["rungs"]):
        if values := [one["value"] for one in rung["tried"] if one["value"] is not None]:
            return float(max(values))
    return None


def explain_rung(search: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A rung in words: how many train for how long, and who goes on."""
    rung, last = search["rungs"][number], number == len(search["rungs"]) - 1
    tried = rung["tried"]
    ended = [one for one in tried if one["state"] not in ("queued", "running", "publishing")]
    values = [one["value"] for one in tried if one["value"] is not None]
    passes = "1 epoch" if rung["epochs"] == 1 else f"{rung['epochs']:,} epochs"
    count = "1 trial trains" if rung["trials"] == 1 else f"{rung['trials']} trials train"
    if last:
        after = "It becomes a version" + (
            ", and answers if the gate lets it." if search["asked"]["promote_best"] else "."
        )
    else:
        ahead = search["rungs"][number + 1]["trials"]
        after = f"The best {ahead} of them go on." if ahead > 1 else "The best one goes on."
    state = "done" if tried and len(ended) == len(tried) else "running" if tried else "not begun"
    if state != "done" and search["finished_at"]:
        state = "ended"
    return {
        "number": number + 1,
        "text": f"{count} for {passes}. {after}",
        "state": state,
        "ended": len(ended),
        "trials": rung["trials"],
        "best": max(values) if values else None,
    }


def list_trials(search: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each trial once, as far as it came: the one that came farthest first, then by the metric."""
    found: dict[int, dict[str, Any]] = {
        number: {"trial": number, "rung": 0, "state": "not begun", "value": None, "job": None, "version": None}
        for number in range(len(search["values"]))
    }
    for number, rung in enumerate(search["rungs"], start=1):
        for one in rung["tried"]:
            kept = found[one["trial"]]["value"] if one["value"] is None else one["value"]
            found[one["trial"]] |= {**one, "rung": number, "value": kept}
    best = search["best"]["trial"] if search["best"] else None
    ordered = sorted(found.values(), key=lambda one: (-one["rung"], one["value"] is None, -(one["value"] or 0.0)))
    return [one | {"values": search["values"][one["trial"]], "best": one["trial"] == best} for one in ordered]


def describe_value(value: object) -> str:
    """A recipe's value in a table."""
    if value is None:
        return NOTHING
    return format_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
