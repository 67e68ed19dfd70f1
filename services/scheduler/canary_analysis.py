"""Analyses every canary, and promotes it or rolls it back when the evidence says so. Any number may run at once."""

from collections import Counter
from collections.abc import Mapping

import structlog

from modelyard.models.errors import CorruptData
from modelyard.models.registry.rollout import Canary, Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.experiment_counts import Role
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_evidence import (
    Decision,
    Experiment,
    Sums,
    decide,
    describe_evidence,
    update_experiment,
)

log = structlog.get_logger()

BY = "canary analysis"


def analyse_canaries(store: Store, ledger: Ledger) -> None:
    """Analyses each canary that is not decided by a person.

    Raises:
        StorageFailed: the ledger is away.
    """
    for model in store.models():
        try:
            now = read_rollout(store, model)
        except CorruptData as error:
            log.warning("rollout cannot be read", model=model, cause=str(error))
            continue
        if now.canary and now.canary.judged:
            analyse_canary(store, ledger, model, now.stable, now.canary)


def analyse_canary(store: Store, ledger: Ledger, model: str, stable_version: int | None, canary: Canary) -> None:
    """Adds the counts since the last analysis to the evidence, and decides if there is enough of it."""
    observations = ledger.observations
    revision, state = observations.read_analysis(model, canary.since)
    counted, mistakes = (
        observations.sum_counts(model, canary.since),
        ledger.feedback.count_mistakes(model, canary.since),
    )
    versions: Mapping[Role, int | None] = {"stable": stable_version, "canary": canary.version}
    before = Experiment.model_validate(state.get("experiment", {}))
    stable, tried = (
        Sums.of(counted.get(role, Counter()), *mistakes.get(version or 0, (0, 0))) for role, version in versions.items()
    )
    if (stable, tried) == (before.stable, before.canary):
        return
    experiment = update_experiment(before, stable, tried)
    state = {"experiment": experiment.model_dump(mode="json"), "statistics": describe_evidence(experiment)}
    if not observations.save_analysis(model, canary.since, revision, state):
        return  # another scheduler was quicker
    if decision := decide(experiment, canary):
        apply_decision(store, model, canary, decision, experiment)


def apply_decision(store: Store, model: str, canary: Canary, decision: Decision, experiment: Experiment) -> None:
    """Writes the decision and its evidence into the rollout; nothing if the canary has ended meanwhile."""
    reason, found = decision.reason, describe_evidence(experiment)

    def edit(now: Rollout) -> Rollout:
        if now.canary is None or (now.canary.version, now.canary.since) != (canary.version, canary.since):
            return now
        if decision.promote:
            return now.promote(canary.version, by=BY, reason=reason, detail=found)
        return now.end_canary(by=BY, reason=reason, detail=found)

    change_rollout(store, model, edit)
    log.warning(
        "canary decided", model=model, version=canary.version, promoted=decision.promote, reason=decision.reason
    )
