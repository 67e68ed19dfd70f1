"""The table of ``benchmarks.chaos`` in docs/reliability.md."""

import argparse
from collections.abc import Sequence
from typing import Any

BAD = (
    "jobs_lost",
    "jobs_published_twice",
    "jobs_published_but_not_succeeded",
    "jobs_succeeded_without_version",
    "jobs_run_though_refused",
    "versions_damaged",
    "wrong",
    "other_answers",
    "without_answer",
    "submissions_other",
    "rollbacks_failed",
)
"""What must be 0."""


def render_table(result: dict[str, Any], options: argparse.Namespace) -> str:
    seen = ", ".join(f"{count} x {kind}" for kind, count in result["faults"].items())
    states = ", ".join(f"{count} {state}" for state, count in result["jobs_by_state"].items())
    rows = [
        ("command", f"`python -m benchmarks.chaos --minutes {options.minutes:g} --seed {options.seed}`"),
        ("faults", seen),
        ("jobs accepted", f"{result['jobs_accepted']}: {states}"),
        ("lost / published twice / wrongly denied", format_counts(result, BAD[:3])),
        (
            "submissions refused with 503 / other errors",
            format_counts(result, ("submissions_refused", "submissions_other")),
        ),
        ("roll-backs on a full disk, by status", format_statuses(result["rollbacks_on_a_full_disk"])),
        ("versions published / damaged", format_counts(result, ("versions", "versions_damaged"))),
        ("predictions right / wrong", format_counts(result, ("right", "wrong"))),
        ("503 with Retry-After / 504", format_counts(result, ("refused_503", "late_504"))),
        ("other answers / none", format_counts(result, ("other_answers", "without_answer"))),
    ]
    lines = ["| | seen |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += ["", "| from → to | times | median s | longest s |", "|---|---|---|---|"]
    for name, value in result["times_s"].items():
        middle, longest = value.get("p50", ""), value.get("max", "")
        lines.append(f"| {name.replace('->', '→')} | {value['count']} | {middle} | {longest} |")
    return "\n".join(lines)


def format_statuses(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(counts.items())) or "none"


def format_counts(result: dict[str, Any], names: Sequence[str]) -> str:
    return " / ".join(f"{result[name]:,}" for name in names)
