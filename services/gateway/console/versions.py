"""The page of a version: where it errs, how it was judged, what it was made of, and what became of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from modelyard.models.errors import CorruptData, ModelyardError
from modelyard.services.gateway.console import version_plots, version_record
from modelyard.services.gateway.console.public_api import PublicApi
from modelyard.services.gateway.console.templates import Pages, link

PAGE = 24
"""Mistakes that are shown at once."""
MAX_MATRIX = 25
"""Classes whose confusion is shown as a matrix; of more, the commonest pairs."""
MAX_PAIRS = 50
MAX_CLASSES = 50
MAX_COLUMNS = 8
"""Columns of a mistake's row; the viewer has all."""
STEPS = 9
LEAST_SCALE = 0.25
"""Share of wrong answers that is coloured most, where no kind has more."""
MEASURES = ("precision", "recall", "f1", "support")


def add_pages(views: Blueprint, pages: Pages) -> None:
    """Adds ``/models/MODEL/versions/VERSION``."""
    api = PublicApi()

    @views.get("/models/<model>/versions/<version:version>")
    def version(model: str, version: int) -> Response:
        known: dict[str, Any] = {"model": model, "version": version, "here": here}
        path = link("api", "models", model, "versions", version)
        try:
            record = api.get(path)
        except CorruptData as error:
            return pages.render("version_damaged.html", current="models", text=str(error), **known)
        evaluation, damage = read_evaluation(api, path)
        job = api.find(link("api", "jobs", record["job"])) if record["job"] else None
        shown: dict[str, Any] = {
            "record": record,
            "evaluation": evaluation,
            "damage": damage,
            "files": api.find(f"{path}/files"),
            "uses": api.find(f"{path}/uses"),
            "timeline": list(version_record.list_events(record, job)),
            "card": version_record.describe_card(record),
            "model_card": version_record.describe_model_card(read_card(api, path)),
        }
        if evaluation:
            shown |= {
                "errors": describe_errors(record, evaluation),
                "mistakes": read_mistakes(api, path, record),
                "classes": describe_classes(record, evaluation),
                "plots": version_plots.describe_plots(record, evaluation),
                "comparison": version_record.describe_comparison(record, evaluation),
            }
        return pages.render("version.html", current="models", module="version", **known, **shown)


def here(**changes: object) -> str:
    """This page's query with other values; None leaves one out."""
    given = {name: value for name, value in request.args.items() if name not in changes}
    return "?" + urlencode(given | {name: value for name, value in changes.items() if value is not None})


def read_evaluation(api: PublicApi, path: str) -> tuple[Any, str]:
    """The evaluation, None where there is none; and what is wrong with it."""
    try:
        return api.find(f"{path}/evaluation"), ""
    except CorruptData as error:
        return None, str(error)


def read_card(api: PublicApi, path: str) -> Any:
    """The model card; None where it, or the evaluation that it takes from, is damaged: the page says so elsewhere."""
    try:
        return api.find(f"{path}/card")
    except CorruptData:
        return None


# --- where it errs ----------------------------------------------------------------------------------------------------


def describe_errors(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The confusion as a matrix of cells, or as its commonest pairs."""
    pairs, labels = evaluation["confused"], evaluation["labels"]
    support = {label: values["support"] for label, values in evaluation["per_class"].items() if "support" in values}
    matrix = evaluation["confusion"] if len(labels) <= MAX_MATRIX else ()
    return {
        "matrix": list(describe_matrix(labels, matrix)),
        "labels": labels,
        "long": max(map(len, labels), default=0) > STEPS // 2,
        "pairs": [
            pair | {"share": pair["count"] / support[pair["expected"]] if support.get(pair["expected"]) else None}
            for pair in pairs[:MAX_PAIRS]
        ],
        "more": max(0, len(pairs) - MAX_PAIRS),
        "several": record["task"] == "multilabel",
        "counts": request.args.get("as") == "count",
    }


def describe_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Iterator[list[dict[str, Any]]]:
    """Rows of cells; ``tone`` is the class of a cell's colour: the root of its share, so that few are seen, too."""
    shares = [[count / (sum(row) or 1) for count in row] for row in matrix]
    wrong = (share for index, row in enumerate(shares) for column, share in enumerate(row) if index != column)
    most = max(LEAST_SCALE, max(wrong, default=0.0))
    for index, row in enumerate(shares):
        yield [
            {
                "expected": labels[index],
                "received": labels[column],
                "count": matrix[index][column],
                "share": share,
                "right": index == column,
                "tone": f"right-{choose_step(share)}" if index == column else f"wrong-{choose_step(share / most)}",
            }
            for column, share in enumerate(row)
        ]


def choose_step(share: float) -> int:
    """0 for none, 1 to 9 for some."""
    return min(STEPS, round(STEPS * share**0.5 + 0.5)) if share else 0


def read_mistakes(api: PublicApi, path: str, record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The mistakes that the page's query chooses, and how their inputs are shown."""
    asked = {name: request.args.get(name) for name in ("expected", "received", "offset")}
    try:
        found: dict[str, Any] = api.get(f"{path}/evaluation/mistakes", limit=PAGE, **asked)
    except ModelyardError as error:
        nothing: dict[str, Any] = {"mistakes": [], "total": None, "kept": 0, "next": None, "offset": 0}
        return asked | nothing | {"text": str(error), "kind": "", "columns": [], "titles": {}}
    inputs = (record["input"] or {}).get("inputs")
    kind = (
        "row"
        if inputs or any(isinstance(one["input"], dict) and "png" not in one["input"] for one in found["mistakes"])
        else ""
    )
    titles = {name: limits.get("title") or name for name, limits in inputs.items()} if inputs else {}
    names = titles or next((one["input"] for one in found["mistakes"] if isinstance(one["input"], dict)), {})
    return found | {
        "text": "",
        "offset": int(asked["offset"] or 0),
        "kind": kind or ("picture" if any(is_picture(one["input"]) for one in found["mistakes"]) else "text"),
        "columns": [(name, titles.get(name, name)) for name in names][:MAX_COLUMNS] if kind else [],
        "titles": titles,
    }


def is_picture(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("png"), str)


@dataclass(frozen=True)
class Column:
    """A column of a table that can be sorted."""

    name: str
    href: str
    order: str
    """``ascending`` or ``descending``, as it is sorted now; else empty."""


def describe_classes(record: Mapping[str, Any], evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The measures of each class, sorted as the page's query says."""
    per_class = evaluation["per_class"]
    there = dict.fromkeys(name for values in per_class.values() for name in values)
    names = ["label", *sorted(there, key=lambda name: MEASURES.index(name) if name in MEASURES else 0)]
    sort = request.args.get("sort", "label" if len(per_class) <= MAX_MATRIX else "f1")
    falling = request.args.get("order") == "down"
    rows = [{"label": label, **values} for label, values in per_class.items()]
    if sort in names and sort != "label":
        rows.sort(key=lambda row: row.get(sort, 0.0), reverse=falling)
    elif falling:
        rows.reverse()
    whole = request.args.get("classes") == "all"
    return {
        "columns": [
            Column(
                name,
                here(sort=name, order=None if falling or name != sort else "down"),
                ("descending" if falling else "ascending") if name == sort else "",
            )
            for name in names
        ],
        "rows": rows if whole else rows[:MAX_CLASSES],
        "hidden": 0 if whole else max(0, len(rows) - MAX_CLASSES),
        "numbers": record["task"] == "regression",
    }
