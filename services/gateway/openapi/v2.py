"""Bodies of the Open Inference Protocol V2, for the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from modelyard.services.gateway.codecs.oip.binary import DATATYPES
from modelyard.services.gateway.http.json_body import Body, Digits, Size

Datatype = Annotated[str, Field(json_schema_extra={"enum": list(DATATYPES.values())})]
"""The protocol's names of types."""


class Server(Body):
    """Name, release, and extensions of the protocol."""

    name: str
    version: str
    extensions: list[str]


class Live(Body):
    """The process answers."""

    live: Literal[True]


class V2Ready(Body):
    """Predictions would be answered."""

    ready: Literal[True]


class V2NotReady(Body):
    """Why predictions would not be answered."""

    ready: Literal[False]
    error: str


class ModelReady(V2Ready):
    """A model would answer."""

    name: str


class ModelNotReady(V2NotReady):
    """Why a model would not answer."""

    name: str


class TensorMetadata(Body):
    """An input or output; -1 is an open size."""

    name: str
    datatype: str
    shape: list[int]


class V2Metadata(Body):
    """Inputs and outputs of a signature."""

    name: str
    versions: list[Digits]
    platform: Literal["tensorflow_savedmodel"]
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferInput(Body):
    """A tensor; its values stand in ``data``, or behind the JSON."""

    name: str
    shape: list[Size]
    datatype: Datatype
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferOutput(Body):
    """An output to return."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(Body):
    """Tensors by name."""

    id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    inputs: list[InferInput] = Field(min_length=1)
    outputs: list[InferOutput] | None = None
    parameters: dict[str, Any] | None = None


class OutputTensor(Body):
    """An output; numbers row by row."""

    name: str
    datatype: Datatype
    shape: list[Size]
    data: list[Any]


class InferResponse(Body):
    """Outputs in the requested order."""

    model_name: str
    model_version: Digits
    id: str | None = None
    outputs: list[OutputTensor]


class IndexRequest(Body):
    """Whether versions that are not ready are left out."""

    ready: bool | None = None


class UnloadedModel(Body):
    """A model that the model server does not know."""

    name: str
    state: Literal["UNAVAILABLE"]
    reason: str


class LoadedVersion(Body):
    """A version that the model server knows."""

    name: str
    version: Digits
    state: Literal["LOADING", "READY", "UNLOADING", "UNAVAILABLE", "UNKNOWN"]
    reason: str


class Index(RootModel[list[LoadedVersion | UnloadedModel]]):
    """Every version of every model."""
