"""Models without a manifest, which only the model servers know: what is seen of them there."""

from typing import Literal

from pydantic import Field

from modelyard.models.errors import ModelyardError
from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.codecs.tfs_json import DEFAULT_SIGNATURE
from modelyard.services.gateway.http.json_body import Body
from modelyard.services.gateway.http.paths import Servable
from modelyard.services.gateway.serving.predictor import Predictor

AVAILABLE = "AVAILABLE"


class ForeignModel(Body):
    """A SavedModel that is served as it is: nothing is known of its training."""

    name: str
    summary: str = "A SavedModel without a manifest, served as it is."
    is_foreign: Literal[True] = True
    stable: int | None = Field(description="The highest version that is available: it answers.")


class ForeignVersion(Body):
    """A version that the model servers have."""

    version: int
    state: str


def list_foreign(store: Store, predictor: Predictor) -> tuple[str, ...]:
    """Models that only the model servers know."""
    published = {model for model in store.models() if store.versions(model)}
    return tuple(model for model in predictor.list_models() if model not in published)


def find_foreign_states(predictor: Predictor, model: str) -> dict[int, str]:
    """State by version, the highest last; empty while no model server answers."""
    try:
        return dict(sorted(predictor.get_states(model).items()))
    except ServingFailed:
        return {}


def summarise_foreign(predictor: Predictor, model: str) -> ForeignModel:
    return ForeignModel(name=model, stable=find_answering(find_foreign_states(predictor, model)))


def find_answering(states: dict[int, str]) -> int | None:
    """The version that answers who names none."""
    return max((version for version, state in states.items() if state == AVAILABLE), default=None)


def read_tensors(predictor: Predictor, model: str) -> tuple[int, tuple[TensorSpec, ...]] | None:
    """The version that answers, and its default signature's inputs; None while nobody can say."""
    try:
        interface = predictor.wait_for_interface(Servable(model))
    except ModelyardError:
        return None
    signatures = interface.signatures
    chosen = signatures.get(DEFAULT_SIGNATURE) or next(iter(signatures.values()), None)
    return interface.version, chosen.inputs if chosen else ()
