"""A loaded version as plain values, without TensorFlow's runtime."""

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

CancelCheck = Callable[[], None]
"""Raises ``Refused`` if the call was cancelled; called right before the model runs."""


def never_cancelled() -> None:
    """The ``CancelCheck`` of a run that cannot be cancelled."""


class Run(Protocol):
    """Runs the graph: values by tensor name (``name:index``) -> one value for each fetched tensor name, in order.

    Raises:
        Refused: TensorFlow's own code and message, or the error of ``check_cancelled``.
    """

    def __call__(
        self, feeds: Mapping[str, Tensor], fetches: tuple[str, ...], check_cancelled: CancelCheck
    ) -> list[Tensor]: ...


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a signature."""

    name: str
    """Name in the graph: ``name:index``."""
    dtype: int
    """``tensorflow.DataType``."""


@dataclass(frozen=True)
class Signature:
    """One callable of a version."""

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    method_name: str = PREDICT
    defaults: Mapping[str, Tensor] = field(default_factory=dict)
    """Default values of optional inputs."""


@dataclass(frozen=True)
class Servable:
    """One loaded version: its signatures, and the function that runs it."""

    signatures: Mapping[str, Signature]
    signature_defs: get_model_metadata_pb2.SignatureDefMap
    run: Run
    close: Callable[[], None] = never_cancelled
    """Frees the version's memory; called once, when no run is in progress and none will follow."""
    finish_warm_up: Callable[[], object] | None = None
    """Makes first runs that need not come before the version answers; raises ``Refused``. None: there are none."""


@dataclass(frozen=True)
class RequestOptions:
    """Options of request handling, for the whole server. Fields are named after TensorFlow Serving's flags."""

    enable_signature_method_name_check: bool = False
    """Whether Classify and Regress refuse signatures of another method."""
    enable_serialization_as_tensor_content: bool = False
    """Whether Predict returns tensors as bytes instead of lists of values."""
