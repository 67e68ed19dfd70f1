"""Analyses every canary, and promotes it or rolls it back when the evidence says so. Any number may run at once."""

from collections import Counter
from collections.abc import Mapping

import structlog

from modelyard.models.errors import CorruptData
from modelyard.models.registry.rollout import Canary, Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger import Ledger
from modelyard.services.scheduler.canary_evidence import (
    Decision,
    Experiment,
    Sums,
    decide,
    statistics,
    update_experiment,
)
from modelyard.services.trials import Role

log = structlog.get_logger()

BY = "canary analysis"


def judge_canaries(store: Store, ledger: Ledger) -> None:
    """Analyses each canary that nobody wants to decide on by hand.

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
            judge_canary(store, ledger, model, now.stable, now.canary)


def judge_canary(store: Store, ledger: Ledger, model: str, stable_version: int | None, canary: Canary) -> None:
    """One analysis of one canary: what was counted since the last one becomes evidence, and perhaps a decision."""
    observations = ledger.observations
    revision, state = observations.verdict(model, canary.since)
    counted, mistakes = observations.sums(model, canary.since), ledger.feedback.mistakes(model, canary.since)
    versions: Mapping[Role, int | None] = {"stable": stable_version, "canary": canary.version}
    before = Experiment.model_validate(state.get("experiment", {}))
    stable, tried = (
        Sums.of(counted.get(role, Counter()), *mistakes.get(version or 0, (0, 0))) for role, version in versions.items()
    )
    if (stable, tried) == (before.stable, before.canary):
        return
    experiment = update_experiment(before, stable, tried)
    state = {"experiment": experiment.model_dump(mode="json"), "statistics": statistics(experiment)}
    if not observations.save_verdict(model, canary.since, revision, state):
        return  # another scheduler was quicker
    if decision := decide(experiment, canary):
        carry_out(store, model, canary, decision, experiment)


def carry_out(store: Store, model: str, canary: Canary, decision: Decision, experiment: Experiment) -> None:
    """Writes the decision into the rollout, with what it was made on; nothing if the canary has ended meanwhile."""
    reason, found = decision.reason, statistics(experiment)

    def edit(now: Rollout) -> Rollout:
        if now.canary is None or (now.canary.version, now.canary.since) != (canary.version, canary.since):
            return now
        if decision.promote:
            return now.promote(canary.version, by=BY, reason=reason, detail=found)
        return now.end_canary(by=BY, reason=reason, detail=found)

    change_rollout(store, model, edit)
    log.warning("canary judged", model=model, version=canary.version, promoted=decision.promote, reason=decision.reason)
