"""A loaded version as plain values; nothing here knows TensorFlow's runtime."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from modelyard.models.tfserving.messages import get_model_metadata_pb2
from modelyard.services.modelserver.runtime.tensor import Tensor

CLASSIFY = "tensorflow/serving/classify"
PREDICT = "tensorflow/serving/predict"
REGRESS = "tensorflow/serving/regress"
"""Method names of signatures (tensorflow/cc/saved_model ``signature_constants.h``)."""

DEFAULT_SIGNATURE = "serving_default"

Waiting = Callable[[], None]
"""Raises ``Refused`` if nobody waits for the answer any more; asked right before the model runs."""


def always() -> None:
    """The ``Waiting`` of a run that nobody can call off."""


class Run(Protocol):
    """Runs the graph: values by tensor name (``name:index``) -> one value for each fetched tensor name, in order.

    Raises:
        Refused: TensorFlow's own code and words, or what ``waiting`` raised.
    """

    def __call__(self, feeds: Mapping[str, Tensor], fetches: tuple[str, ...], waiting: Waiting) -> list[Tensor]: ...


@dataclass(frozen=True)
class TensorInfo:
    """What a signature says of one tensor."""

    name: str
    """In the graph: ``name:index``."""
    dtype: int
    """``tensorflow.DataType``."""


@dataclass(frozen=True)
class Signature:
    """One callable of a version."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = PREDICT
    defaults: Mapping[str, Tensor] = field(default_factory=dict)
    """Values of inputs that a request may leave out."""


@dataclass(frozen=True)
class Servable:
    """One loaded version: what it can run, and what its SavedModel says of that."""

    signatures: Mapping[str, Signature]
    signature_defs: get_model_metadata_pb2.SignatureDefMap
    run: Run
    close: Callable[[], None] = always
    """Frees what the version holds; called once, when no run is in progress and none will come."""


@dataclass(frozen=True)
class Rules:
    """How requests are read and answered, for the whole server. Fields are named after TensorFlow Serving's flags."""

    enable_signature_method_name_check: bool = False
    """Classify and Regress refuse signatures of another method."""
    enable_serialization_as_tensor_content: bool = False
    """Predict answers with runs of bytes instead of lists of values."""
