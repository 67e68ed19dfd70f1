"""What was observed of a canary and a shadow, as `modelyard rollout` prints it."""

from collections.abc import Iterator, Mapping
from typing import Any

from modelyard.services.cli import output

MILLISECONDS = 1000
EFFECTS = {"end": "ends the canary", "promote": "promotes it"}


def print_observed(found: Mapping[str, Any], evidence: Mapping[str, Any] | None) -> None:
    """Answers, errors and 99th percentiles of both versions, the evidence, and what will decide.

    Args:
        found: the rollout, with sums over all gateways in ``observed``; null while the ledger is away.
        evidence: the answer of ``GET /api/models/M/canary``; None if there is none.
    """
    observed = found.get("observed") or {}
    arms = list(list_arms(found, observed, evidence))
    if arms:
        output.console.print()
        output.print_table("role", "version", "answers", "errors", "p99", "feedback", "mistakes", rows=arms)
    if evidence and evidence.get("comparisons"):
        output.console.print()
        rows = [describe_comparison(each) for each in evidence["comparisons"]]
        output.print_table("compared", "evidence", "needed", "then it", rows=rows)
    for line in list_prospects(evidence or {}):
        output.console.print(line, markup=False)
    if shadow := observed.get("shadow"):
        counts = ", ".join(f"{name} {count:g}" for name, count in sorted(shadow.items()))
        output.console.print(f"\nshadow: {counts}", markup=False)
    if arms or shadow:
        output.console.print()


def list_arms(
    found: Mapping[str, Any], observed: Mapping[str, Any], evidence: Mapping[str, Any] | None
) -> Iterator[tuple[object, ...]]:
    """A row for each version that answers while there is a canary."""
    if not found.get("canary"):
        return
    versions = {"stable": found["stable"], "canary": found["canary"]["version"]}
    for role, known in (("stable", "stable"), ("canary", "tried")):
        arm = (evidence or {}).get(known) or observed.get(role) or {}
        p99 = None if arm.get("p99_s") is None else f"{MILLISECONDS * arm['p99_s']:.3g} ms"
        counts = [f"{int(arm.get(name, 0)):,}" for name in ("answers", "errors")]
        feedback = [None if arm.get(name) is None else f"{int(arm[name]):,}" for name in ("labelled", "mistakes")]
        yield role, versions[role], *counts, p99, *feedback


def describe_comparison(each: Mapping[str, Any]) -> tuple[object, ...]:
    """The cells of one comparison."""
    effect = EFFECTS.get(each["decides"], each["decides"])
    return each["name"], f"{each['evidence']:.3g}", f"{each['bound']:.3g}", effect


def list_prospects(evidence: Mapping[str, Any]) -> Iterator[str]:
    """How far the canary is, what the evidence supports now, and which data is missing."""
    if progress := evidence.get("progress"):
        yield f"{progress['compared']:,} of {progress['needed']:,} answers compared; then: {progress['then']}"
    outlook = evidence.get("outlook") or {}
    if outlook.get("seconds_left"):
        yield f"about {output.format_duration(outlook['seconds_left'])} left at the present rate"
    if outlook.get("labels_left"):
        yield f"about {outlook['labels_left']:,} labels until feedback decides"
    if supports := evidence.get("supports"):
        yield f"supported now: {supports['action']}, as {supports['reason']}"
    for missing in evidence.get("missing") or ():
        yield f"missing: {missing}"
