"""What is measured of each kind, and the table of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.robustness.answers import Answers
from modelyard.models.types import Array
from modelyard.pipeline.evaluation.calibration import measure_calibration_error


@dataclass(frozen=True)
class Row:
    """One kind of input. What a version does not say is None."""

    kind: str
    summary: str
    group: str
    """``made for``, ``beyond`` or ``other``: as a model card has them."""
    count: int
    accuracy: float | None = None
    confidence: float | None = None
    """Mean probability of the class that is answered."""
    sure: float | None = None
    """Share of answers above 0.9."""
    flagged: float | None = None
    """Share that the version calls not typical."""
    auroc: float | None = None
    """Of ``atypicality``: how well this kind is told from the test inputs of the data set."""
    coverage_95: float | None = None
    size_95: float | None = None
    coverage_99: float | None = None
    size_99: float | None = None
    ece: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


def measure_known(kind: str, summary: str, group: str, answers: Answers, truth: Array) -> Row:
    """Inputs whose class is known, ``int [N]``."""
    return Row(
        kind,
        summary,
        group,
        len(truth),
        accuracy=float(np.mean(answers.classes == truth)),
        ece=measure_calibration_error(answers.probabilities, truth),
        **_measure_confidence(answers),
        **measure_sets(answers, truth),
    )


def measure_other(kind: str, summary: str, answers: Answers, usual: Answers | None) -> Row:
    """Inputs that belong to no class, told from ``usual`` ones."""
    rated, known = answers.atypicality, usual.atypicality if usual else None
    return Row(
        kind,
        summary,
        "other",
        len(answers.classes),
        auroc=None if rated is None or known is None else measure_auroc(rated, known),
        **_measure_confidence(answers),
    )


def _measure_confidence(answers: Answers) -> dict[str, float | None]:
    return {
        "confidence": float(np.mean(answers.confidence)),
        "sure": float(np.mean(answers.confidence > 0.9)),
        "flagged": None if answers.flagged is None else float(np.mean(answers.flagged)),
    }


def measure_sets(answers: Answers, truth: Array) -> dict[str, float]:
    """Of the prediction sets of 95 and 99 %: share that holds the true class, and mean number of classes.

    ``prediction_set`` is ``int [N,classes]``, the least coverage whose set holds the class.
    """
    measured: dict[str, float] = {}
    levels = answers.outputs.get("prediction_set")
    if levels is None:
        return measured
    for stated in (95, 99):
        inside: Array = np.asarray(levels <= stated)
        measured[f"coverage_{stated}"] = float(np.mean(inside[np.arange(len(truth)), truth]))
        measured[f"size_{stated}"] = float(np.mean(inside.sum(axis=1)))
    return measured


def measure_auroc(unusual: Array, usual: Array) -> float:
    """Probability that an unusual input is rated higher than a usual one; ties count a half."""
    known = np.sort(usual)
    below, not_above = (np.searchsorted(known, unusual, side=side) for side in ("left", "right"))
    return float(np.mean((below + not_above) / 2) / len(usual))


# --- tables -----------------------------------------------------------------------------------------------------------

_GROUPS = {
    "made for": "What it is made for",
    "beyond": "Beyond what it is made for",
    "other": "None of its kind",
}


def render(columns: Mapping[str, Sequence[Row]]) -> str:
    """Tables of all kinds, the columns side by side under their names (versions or recipes)."""
    parts = [_render_group(columns, group, title) for group, title in _GROUPS.items()]
    return "\n\n".join(part for part in parts if part)


def _render_group(columns: Mapping[str, Sequence[Row]], group: str, title: str) -> str:
    kinds = {row.kind: row for rows in columns.values() for row in rows if row.group == group}
    if not kinds:
        return ""
    render_cells = _render_other if group == "other" else _render_known
    what = "AUROC · flagged · above 0.9" if group == "other" else "right · flagged"
    head = [
        f"| {title} | n | {' | '.join(f'{name}: {what}' for name in columns)} |",
        "|---|---|" + "---|" * len(columns),
    ]
    found = {name: {row.kind: row for row in rows} for name, rows in columns.items()}
    return "\n".join(
        [
            *head,
            *(
                f"| {_name(row)} | {row.count:,} | "
                f"{' | '.join(render_cells(rows.get(kind)) for rows in found.values())} |"
                for kind, row in kinds.items()
            ),
        ]
    )


def _name(row: Row) -> str:
    summary = row.summary.replace("|", "\\|")
    return f"**{row.kind}**: {summary}" if summary else f"**{row.kind}**"


def _render_known(row: Row | None) -> str:
    return "-" if row is None else " · ".join((_percent(row.accuracy), _percent(row.flagged)))


def _render_other(row: Row | None) -> str:
    if row is None:
        return "-"
    return " · ".join(("-" if row.auroc is None else f"{row.auroc:.3f}", _percent(row.flagged), _percent(row.sure)))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def list_lines(rows: Sequence[Row]) -> Iterator[str]:
    """For a terminal."""
    for row in rows:
        values = ", ".join(f"{name} {value:.4f}" for name, value in row.to_json().items() if isinstance(value, float))
        yield f"{row.group:9} {row.kind:24} n={row.count:<6} {values}"
