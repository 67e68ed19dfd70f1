"""Whether each model answers requests that name no version, and what is wrong where one does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.rollout import Rollout
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.errors import ServableNotFound
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.serving.failed_versions import PRESENT, FailedVersion, VersionFailed
from modelyard.services.gateway.serving.predictor import Predictor
from modelyard.services.gateway.serving.versions import list_replacements

AVAILABLE, NOT_LOADED = "AVAILABLE", "not loaded"


@dataclass(frozen=True)
class ModelReadiness:
    """One model."""

    answers: bool
    problem: str = ""
    """What is wrong; empty if nothing is."""
    is_loading: bool = False
    """Whether it will answer in a moment: until then the gateway is not ready, as TensorFlow Serving is closed."""
    is_known: bool = True
    """False where nothing of it was ever to answer."""


class Report(NamedTuple):
    """Of all models."""

    reasons: list[str]
    """Why the gateway is not ready; empty if it is."""
    details: list[str]
    """What is wrong although it is."""


def read_report(predictor: Predictor) -> Report:
    """Ready is a gateway of which one model answers at least, and none is being loaded.

    A model that cannot be loaded does not hold up the others.
    """
    try:
        found = list(read_models(predictor))
    except ServingFailed as failure:
        return Report([str(failure)], [])
    problems = [model.problem for model in found if model.problem]
    if any(model.is_loading for model in found) or not any(model.answers for model in found):
        return Report(problems or ["no model has a stable version yet"], [])
    return Report([], [model.problem for model in found if model.problem and model.is_known])


def read_models(predictor: Predictor) -> Iterator[ModelReadiness]:
    """One by one; a pool whose servers do not answer is asked once, and holds up no model of another one.

    Raises:
        ServingFailed: no model server answers, and there is one pool.
    """
    away: dict[str, str] = {}
    for model in predictor.list_models():
        pool = predictor.find_pool(model)
        if pool not in away:
            try:
                found = read_any_model(predictor, model)
            except ServingFailed as failure:
                if predictor.pools.is_single:
                    raise
                away[pool] = str(failure)
            else:
                yield found
                continue
        yield ModelReadiness(answers=False, problem=f"{model} is in pool {pool}: {away[pool]}")


def read_any_model(predictor: Predictor, model: str) -> ModelReadiness:
    """As ``read_model``, also of one that there is nothing of, or whose rollout is damaged."""
    try:
        return read_model(predictor, model)
    except ServableNotFound as error:
        return ModelReadiness(answers=False, problem=str(error), is_known=False)
    except ServingFailed as failure:
        if not failure.is_loading:
            raise
        return ModelReadiness(answers=False, problem=str(failure), is_loading=True)
    except ModelyardError as error:
        return ModelReadiness(answers=False, problem=str(error))


def read_model(predictor: Predictor, model: str) -> ModelReadiness:
    """Raises ``ServingFailed`` if no model server answers, ``ServableNotFound`` if there is nothing that could."""
    rollout = predictor.get_rollout(model)
    try:
        version = predictor.wait_for_interface(Servable(model, rollout.stable)).version
    except VersionFailed:
        assert rollout.stable is not None
        version = rollout.stable
    states = predictor.get_states(model)
    state = states.get(version, NOT_LOADED)
    failed = predictor.failed_versions.get(model, version)
    if rollout.stable is not None and (failed or state not in PRESENT):
        failed = predictor.wait_for(predictor.failed_versions.check(model, version))
    if failed:
        return read_replacement(rollout, failed, states)
    if predictor.is_cut_off(model):
        return ModelReadiness(answers=False, problem=f"{model} does not answer at present")
    if state == AVAILABLE:
        return ModelReadiness(answers=True)
    return ModelReadiness(answers=False, problem=f"{model} version {version} is {state}", is_loading=state in PRESENT)


def read_replacement(rollout: Rollout, failed: FailedVersion, states: dict[int, str]) -> ModelReadiness:
    """Of a model whose stable version cannot be loaded."""
    for other in list_replacements(rollout, failed.version):
        if states.get(other) == AVAILABLE:
            problem = f"{failed.describe()}; version {other} answers in its place"
            return ModelReadiness(answers=True, problem=problem)
    return ModelReadiness(answers=False, problem=failed.describe())
