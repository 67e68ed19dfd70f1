"""Analyses every canary, and promotes it, ends it or raises its share when the evidence says so. Any number may run.

Whichever analysis writes first counts: the state in the ledger has a revision, and a change of the rollout is made only
if the canary is still the very one that was analysed, with its share and its judge.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from modelyard.models.errors import CorruptData
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import Role
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.observations import Analysis
from modelyard.services.scheduler.canary_evidence import (
    Decision,
    Experiment,
    Sums,
    decide,
    describe_evidence,
    update_experiment,
)
from modelyard.services.scheduler.canary_report import extend_path, make_point, report_state

log = structlog.get_logger()

BY = "canary analysis"
NOTE_EVERY = timedelta(seconds=10)
"""How often it is written down that an analysis found nothing new."""


def analyse_canaries(store: Store, ledger: Ledger) -> None:
    """Analyses each canary; of one that a person judges it decides nothing.

    Raises:
        StorageFailed: the ledger is away.
    """
    for model in store.models():
        try:
            now = read_rollout(store, model)
        except CorruptData as error:
            log.warning("rollout cannot be read", model=model, cause=str(error))
            continue
        if now.canary:
            analyse_canary(store, ledger, model, now.stable, now.canary)


def analyse_canary(store: Store, ledger: Ledger, model: str, stable_version: int | None, canary: Canary) -> None:
    """Adds the counts since the last analysis to the evidence, and decides if there is enough of it."""
    before = ledger.observations.read_analysis(model, canary.since)
    experiment = Experiment.model_validate(before.state.get("experiment", {}))
    stable, tried = read_sums(ledger, model, stable_version, canary)
    found = (stable, tried, canary.percent)
    if before.revision == 0 or (experiment.stable, experiment.canary, experiment.percent) != found:
        experiment = update_experiment(experiment, *found)
        if not save(ledger, model, canary, before, experiment):
            return  # another scheduler was quicker
    elif datetime.now(UTC) - before.looked_at > NOTE_EVERY:
        ledger.observations.note_look(model, canary.since)
    if decision := decide(experiment, canary):
        apply_decision(store, model, canary, decision, experiment)


def read_sums(ledger: Ledger, model: str, stable_version: int | None, canary: Canary) -> tuple[Sums, Sums]:
    """What gateways and feedback have counted of both versions since the canary began."""
    counted = ledger.observations.sum_counts(model, canary.since)
    mistakes = ledger.feedback.count_mistakes(model, canary.since)
    versions: Mapping[Role, int | None] = {"stable": stable_version, "canary": canary.version}
    stable, tried = (
        Sums.of(counted.get(role, Counter()), *mistakes.get(version or 0, (0, 0))) for role, version in versions.items()
    )
    return stable, tried


def save(ledger: Ledger, model: str, canary: Canary, before: Analysis, experiment: Experiment) -> bool:
    """Writes the next state; False if another scheduler was quicker."""
    state = {
        "experiment": experiment.model_dump(mode="json"),
        "statistics": describe_evidence(experiment),
        "report": report_state(experiment, canary),
        "canary": canary.model_dump(mode="json"),
    }
    path = extend_path(before.path, make_point(experiment, datetime.now(UTC).timestamp()))
    return ledger.observations.save_analysis(model, canary.since, before.revision, state, path)


def apply_decision(store: Store, model: str, canary: Canary, decision: Decision, experiment: Experiment) -> None:
    """Writes the decision and its evidence into the rollout; nothing if the canary is not as it was analysed."""
    reason, found = decision.reason, describe_evidence(experiment)

    def edit(now: Rollout) -> Rollout:
        return decide_rollout(now, canary, decision, reason, found) if now.canary == canary else now

    change_rollout(store, model, edit)
    log.warning("canary decided", model=model, version=canary.version, action=decision.action, reason=reason)


def decide_rollout(now: Rollout, canary: Canary, decision: Decision, reason: str, found: dict[str, Any]) -> Rollout:
    """The rollout after a decision."""
    if decision.action == "promote":
        return now.promote(canary.version, by=BY, reason=reason, detail=found)
    if decision.action == "step" and (following := canary.next_step):
        return now.step_canary(following.percent, by=BY, reason=reason, detail=found)
    return now.end_canary(by=BY, reason=reason, detail=found)
