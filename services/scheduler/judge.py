"""Looks at every canary, and promotes it or rolls it back when the evidence says so. Any number may run at once."""

from collections import Counter
from collections.abc import Mapping

import structlog

from modelyard.models.errors import CorruptData
from modelyard.models.registry.rollout import Canary, Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger.feedback import Feedback
from modelyard.services.ledger.observations import Observations
from modelyard.services.scheduler.canary import Decision, Sums, Trial, decide, look, statistics
from modelyard.services.trials import Role

log = structlog.get_logger()

BY = "canary judge"


def judge_all(store: Store, observations: Observations, feedback: Feedback) -> None:
    """One look at each model that has a canary to be judged.

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
            judge(store, observations, feedback, model, now.stable, now.canary)


def judge(
    store: Store,
    observations: Observations,
    feedback: Feedback,
    model: str,
    stable_version: int | None,
    canary: Canary,
) -> None:
    """One look at one canary: what was counted since the last one becomes evidence, and perhaps a decision."""
    revision, state = observations.verdict(model, canary.since)
    counted, mistakes = observations.sums(model, canary.since), feedback.mistakes(model, canary.since)
    versions: Mapping[Role, int | None] = {"stable": stable_version, "canary": canary.version}
    before = Trial.model_validate(state.get("trial", {}))
    stable, tried = (
        Sums.of(counted.get(role, Counter()), *mistakes.get(version or 0, (0, 0))) for role, version in versions.items()
    )
    if (stable, tried) == (before.stable, before.canary):
        return
    trial = look(before, stable, tried)
    state = {"trial": trial.model_dump(mode="json"), "said": statistics(trial)}
    if not observations.judge(model, canary.since, revision, state):
        return  # another judge looked at the same time
    if decision := decide(trial, canary):
        carry_out(store, model, canary, decision, trial)


def carry_out(store: Store, model: str, canary: Canary, decision: Decision, trial: Trial) -> None:
    """Writes the decision into the rollout, with what it was made on; nothing if the canary has ended meanwhile."""
    reason, found = decision.reason, statistics(trial)

    def edit(now: Rollout) -> Rollout:
        if now.canary is None or (now.canary.version, now.canary.since) != (canary.version, canary.since):
            return now
        if decision.promote:
            return now.promote(canary.version, by=BY, reason=reason, detail=found)
        return now.end_canary(by=BY, reason=reason, detail=found)

    change_rollout(store, model, edit)
    log.warning("canary judged", model=model, version=canary.version, promoted=decision.promote, reason=decision.reason)
