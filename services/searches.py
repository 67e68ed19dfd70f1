"""Requests and plans of searches: the contract between gateway and scheduler.

Random sampling with successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943): all trials train for few epochs,
the best third of them for three times as many, until one is left. Li et al. 2018 (Hyperband, JMLR 18:185) run several
such brackets; this is one. Each rung trains from the beginning, so that its learning rate falls over its own epochs.
"""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from modelyard.models.catalog import TrainableModel
from modelyard.models.errors import InvalidRecipe, describe_unknown
from modelyard.models.ranges import sample_values
from modelyard.services.ledger import JobRequest, Priority, TrainOptions, TrainTarget

KEEP_ONE_IN = 3
"""Trials of a rung for each one of the next, which gets as many times the epochs."""


class SearchRequest(TrainOptions, TrainTarget):
    """A search over the ranges that a model declares. Overrides are those of all trials, and are not searched."""

    trials: int = Field(ge=2, le=100)
    keys: list[str] | None = Field(None, min_length=1, max_length=64)
    """Recipe keys to search; all that the model declares unless given."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of the sampler: the same seed gives the same values."""
    priority: Priority = Priority.LOW
    promote_best: bool = False
    """Whether the last trial's version is to answer, if gate and servers let it; else a person decides."""


class Rung(BaseModel):
    """How many trials train for how long."""

    model_config = ConfigDict(frozen=True)

    trials: int
    epochs: int
    min_steps: int


class Plan(BaseModel):
    """All steps of a search, fixed when it is submitted."""

    model_config = ConfigDict(frozen=True)

    asked: SearchRequest
    metric: str
    """On the validation split; more is better."""
    values: tuple[dict[str, Any], ...]
    """Of each trial, by recipe key."""
    rungs: tuple[Rung, ...]

    def job(self, rung: int, trial: int) -> JobRequest:
        """The job of a trial. Only the last rung publishes; the others measure on the validation split."""
        request, now = self.asked, self.rungs[rung]
        last = rung == len(self.rungs) - 1
        return JobRequest(
            **request.model_dump(include=set(TrainOptions.model_fields) - {"overrides"}),
            model=request.model,
            overrides={**request.overrides, **self.values[trial], "epochs": now.epochs, "min_steps": now.min_steps},
            rollout=("stable" if request.promote_best else "manual") if last else "none",
        )


def make_plan(request: SearchRequest, trainable: TrainableModel) -> Plan:
    """Draws values and plans rungs.

    Raises:
        InvalidRecipe: the model declares no ranges, a key has none, or a trial is none that its recipe takes.
    """
    trainable.check_recipe(request.recipe, request.overrides)
    keys = choose_keys(request, trainable)
    values = sample_values({key: trainable.search[key] for key in keys}, request.trials, request.seed)
    found = Plan(asked=request, metric=trainable.metric, values=values, rungs=plan_rungs(request, trainable))
    for trial in range(request.trials):
        trainable.check_recipe(request.recipe, found.job(len(found.rungs) - 1, trial).overrides)
    return found


def choose_keys(request: SearchRequest, trainable: TrainableModel) -> list[str]:
    """Recipe keys to search: those with a range that no override fixes."""
    if not trainable.search:
        raise InvalidRecipe(f"{trainable.name} cannot be searched: it declares no ranges")
    for key in request.keys or ():
        if key not in trainable.search:
            raise InvalidRecipe(f"field 'keys': {describe_unknown('search key', key, trainable.search)}")
    found = sorted(set(request.keys or trainable.search) - set(request.overrides))
    if not found:
        raise InvalidRecipe(f"field 'overrides': nothing is left to search; there are {', '.join(trainable.search)}")
    return found


def plan_rungs(request: SearchRequest, trainable: TrainableModel) -> tuple[Rung, ...]:
    """From all trials down to one, which gets what the recipe says, or one epoch for the first rung if that is more."""
    sizes = [request.trials]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] // KEEP_ONE_IN))
    shares = [KEEP_ONE_IN**rung for rung in range(len(sizes))]
    epochs, steps = (read_number(trainable, request, key) for key in ("epochs", "min_steps"))
    first = max(1, epochs // shares[-1])
    return tuple(
        Rung(trials=size, epochs=first * share, min_steps=max(1, steps * share // shares[-1]))
        for size, share in zip(sizes, shares, strict=True)
    )


def read_number(trainable: TrainableModel, request: SearchRequest, key: str) -> int:
    """A number of the recipe, which may be text from a command line; 1 without one."""
    return int(float(trainable.recipe_value(request.recipe, request.overrides, key) or 1))


def read_metric(plan: Plan, result: Mapping[str, Any]) -> float | None:
    """A trial's metric on the validation split; None if it is no number."""
    measured = result.get("validation") or (result.get("metrics") if result.get("state") == "measured" else {}) or {}
    found, loss = measured.get(plan.metric), measured.get("loss")
    if found is None or loss is None or not (math.isfinite(found) and math.isfinite(loss)):
        return None
    return float(found)
