"""A model card as Markdown, in the form of Hugging Face's: a head in YAML, then sections that people read.

https://huggingface.co/docs/hub/model-cards
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

GROUPS: Mapping[str, str] = {
    "made for": "What it is made for",
    "beyond": "Beyond what it is made for",
    "other": "None of its kind",
}
PERCENT = ("accuracy", "flagged", "sure", "confidence", "coverage_95", "coverage_99")
"""Measures that are shares of inputs."""
ON_ATYPICAL: Mapping[str, str] = {
    "answer": "it answers as always",
    "flag": "it answers, and says so",
    "refuse": "it does not answer",
}
MAX_CLASSES = 50
UNKNOWN = "The author has not said."


def write_markdown(card: Mapping[str, Any]) -> str:
    """The text of a card as ``ModelCard`` has it."""
    parts = (
        write_head(card),
        f"# Model card: {clean(card['model'])}, version {card['version']}\n\n{clean(card['summary'])}",
        write_section("Uses", write_uses(card)),
        write_section("Limits", write_list(card["limits"]) or UNKNOWN),
        write_section("On kinds of input", write_measured(card["measured"])),
        write_section("How sure it is", write_uncertainty(card)),
        write_section("How to ask it", write_usage(card)),
        write_section("Evaluation", write_evaluation(card)),
        write_section("Data", write_data(card)),
        write_section("Training", write_training(card)),
        write_section("Contact", clean(card["contact"])),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def write_section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def write_uses(card: Mapping[str, Any]) -> str:
    return "\n\n".join(
        part
        for part in (
            clean(card["purpose"]) or UNKNOWN,
            write_titled("It is made for", card["made_for"]),
            write_titled("It is not made for", card["not_made_for"]),
            f"License: {clean(card['license'])}." if card["license"] else "License: not given.",
        )
        if part
    )


def write_titled(title: str, texts: Sequence[str]) -> str:
    return f"{title}:\n\n{write_list(texts)}" if texts else ""


def write_list(texts: Sequence[str]) -> str:
    return "\n".join(f"- {clean(text)}" for text in texts)


# --- what it does -----------------------------------------------------------------------------------------------------


def write_measured(measured: Mapping[str, Any] | None) -> str:
    """Tables of kinds; of each group the measures that any of its kinds has."""
    if measured is None:
        return ""
    recipe = f"a version of the recipe {clean(measured['recipe'])}" if measured["recipe"] else "a version of this model"
    by = f" by {clean(measured['by'])}" if measured["by"] else ""
    data = f", on {clean(measured['data'])}" if measured["data"] else ""
    tables = [
        write_kinds(title, [each for each in measured["kinds"] if each["group"] == group])
        for group, title in GROUPS.items()
    ]
    return "\n\n".join([f"Measured{by} with {recipe}{data}.", *(table for table in tables if table)])


def write_kinds(title: str, kinds: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for each in kinds for name in each["measures"]))
    rows = [
        (
            f"**{each['kind']}**{': ' if each['summary'] else ''}{each['summary']}",
            f"{each['count']:,}",
            *(format_measure(name, each["measures"].get(name)) for name in names),
        )
        for each in kinds
    ]
    return write_table((title, "n", *names), rows) if kinds else ""


def write_uncertainty(card: Mapping[str, Any]) -> str:
    """What answers say of themselves, and how true that is on the test split."""
    said = card["uncertainty"]
    if said is None:
        return ""
    typicality, lines = said["typicality"], list(map(write_coverage, said["coverage"]))
    if said["ece_before"] is not None:
        lines.append(
            f"calibrated by the temperature {said['temperature']:.3f}; without it, ece {said['ece_before']:.4f}"
        )
    if typicality["methods"]:
        flagged = "" if typicality["flagged"] is None else f"; {typicality['flagged']:.1%} of the test split is not"
        lines.append(f"typical by {'; '.join(typicality['methods'])}{flagged}")
        lines.append(f"where an input is not typical: {ON_ATYPICAL[card['on_atypical']]}")
    return write_list([*lines, *said["notes"]])


def write_coverage(each: Mapping[str, Any]) -> str:
    what = "intervals" if each["threshold"] is None else "prediction sets"
    held = "not measured" if each["covered"] is None else f"{each['covered']:.1%} of the test split are in theirs"
    size = "" if each["mean_size"] is None else f", {each['mean_size']:.2f} labels on average"
    return f"{what} of {each['percent']} %: {held}{size}"


def write_evaluation(card: Mapping[str, Any]) -> str:
    """The gate's verdict, all metrics, and those of each class."""
    verdict, baseline = card["verdict"], card["baseline"]
    reasons = [
        *verdict["reasons"],
        *([f"baseline: {baseline['method']} has {baseline['value']:.4f}"] if baseline else ()),
    ]
    metrics = [(name, f"{value:.4f}") for name, value in card["metrics"].items()]
    names = list(dict.fromkeys(name for values in card["per_class"].values() for name in values))
    classes = [
        (label, *(format_class_measure(name, values.get(name)) for name in names))
        for label, values in list(card["per_class"].items())[:MAX_CLASSES]
    ]
    parts = (
        write_list(reasons),
        write_table(("on the test split", "value"), metrics) if metrics else "Nothing was measured.",
        write_table(("class", *names), classes) if classes else "",
    )
    return "\n\n".join(part for part in parts if part)


# --- what it takes, and what it was made of ---------------------------------------------------------------------------


def write_usage(card: Mapping[str, Any]) -> str:
    inputs = [f"`{each['name']}`: {each['kind']}{format_limits(each['limits'])}" for each in card["inputs"]]
    outputs = ", ".join(f"`{name}`" for name in card["outputs"])
    labels = ", ".join(card["labels"][:MAX_CLASSES]) + (", …" if len(card["labels"]) > MAX_CLASSES else "")
    return write_list(
        [
            f"`POST /v1/models/{card['model']}/versions/{card['version']}:predict`",
            *inputs,
            *([f"outputs: {outputs}"] if outputs else ()),
            *([f"labels: {labels}"] if labels else ()),
        ]
    )


def format_limits(limits: Mapping[str, Any]) -> str:
    known = ", ".join(f"{name} {value}" for name, value in limits.items())
    return f" ({known})" if known else ""


def write_data(card: Mapping[str, Any]) -> str:
    """The author's words, the sizes of the parts, and what stood out."""
    data, imported = card["data"], card["imported"]
    lines = [card["about_data"]] if card["about_data"] else []
    if data:
        lines += [
            f"{data['name']} ({data['source']}): {data['train']:,} examples to train on, {data['validation']:,} to "
            f"choose by, {data['test']:,} to test on"
            + (f"; {data['feedback']:,} of the first came from feedback" if data["feedback"] else ""),
            f"fingerprint `{data['fingerprint']}`",
            *data["warnings"],
        ]
    if imported:
        tested = imported["test"]
        lines.append(
            f"tested on {tested['name']} ({tested['examples']:,} examples)" if tested else "imported without test data"
        )
    return write_list(lines)


def write_training(card: Mapping[str, Any]) -> str:
    recipe, training, imported, environment = (card[name] for name in ("recipe", "training", "imported", "environment"))
    lines = [f"published {card['created_at']:%Y-%m-%d %H:%M} UTC"]
    if imported:
        lines.append(f"trained elsewhere: {imported['form']} {imported['path']}")
    if recipe and training:
        lines += [
            f"recipe {recipe['name']}: {', '.join(f'{name} {value}' for name, value in recipe['values'].items())}",
            f"{training['parameters']:,} parameters, {training['epochs']} epochs, {training['cpu_s']:,.0f} seconds of "
            f"processors, on {environment['device']}"
            + (f"; from the weights of version {training['started_from']}" if training["started_from"] else ""),
        ]
    libraries = ", ".join(
        f"{name} {environment[name]}" for name in ("tensorflow", "keras", "numpy", "python") if environment[name]
    )
    return write_list([*lines, f"code {environment['code']}; {libraries}"])


def write_head(card: Mapping[str, Any]) -> str:
    """YAML, whose values are JSON: texts cannot break out."""
    data, dataset = card["data"], {}
    if data:
        dataset = {"datasets": [data["name"]]}
    head = {
        "license": card["license"].lower() if card["license"] and " " not in card["license"] else "other",
        **({"library_name": "keras"} if card["training"] else {}),
        **({"pipeline_tag": tag} if (tag := choose_tag(card)) else {}),
        "tags": ["modelyard"],
        **dataset,
        "model-index": [{"name": card["model"], "results": list(list_results(card, choose_tag(card)))}],
    }
    lines = (f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in head.items())
    return "\n".join(["---", *lines, "---"])


def list_results(card: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    if card["data"] and card["metrics"]:
        name = card["data"]["name"]
        yield {
            "task": {"type": tag or card["task"]},
            "dataset": {"name": f"{name} ({card['data']['source']})", "type": name, "split": "test"},
            "metrics": [{"type": name, "value": value} for name, value in card["metrics"].items()],
        }


def choose_tag(card: Mapping[str, Any]) -> str:
    """The hub's word for the task; empty where it has none."""
    kinds = {each["kind"] for each in card["inputs"]}
    what = {"regression": "regression"}.get(card["task"], "classification")
    if card["task"] not in ("binary", "multiclass", "multilabel", "regression"):
        return ""
    for kind, word in (("image", "image"), ("text", "text")):
        if kinds == {kind}:
            return f"{word}-classification" if what == "classification" else ""
    return f"tabular-{what}" if kinds <= {"number", "category", "date", "text", "vector"} else ""


# --- tables -----------------------------------------------------------------------------------------------------------


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(write_cell, line))} |" for line in lines)


def write_cell(text: str) -> str:
    return clean(text).replace("|", "\\|")


def format_measure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if name in PERCENT else f"{value:.3f}"


def format_class_measure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if name == "support" else f"{value:.4f}"


def clean(text: Any) -> str:
    """One line, and no HTML."""
    return " ".join(str(text).split()).replace("<", "&lt;")
