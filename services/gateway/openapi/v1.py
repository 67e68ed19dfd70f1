"""Bodies of TensorFlow Serving's REST API, and of our extensions of it, for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from modelyard.models.types import Source
from modelyard.services.gateway.http.json_body import Body, Digits, Error


class Rows(Body):
    """One entry per input."""

    instances: list[Any] = Field(min_length=1)
    signature_name: str = "serving_default"


class Columns(Body):
    """All inputs by name, or the only one as it is."""

    inputs: Any
    signature_name: str = "serving_default"


class PredictRequest(RootModel[Rows | Columns]):
    """By row or by column."""


class Predictions(Body):
    """Response to the row format: one entry per input."""

    predictions: list[Any]


class Outputs(Body):
    """Response to the column format: the only output, or all by name."""

    outputs: Any


class TopLabel(Body):
    """The likeliest class, and the scores of all."""

    label: str
    class_id: int
    score: float
    scores: dict[str, float]


class Labelled(TopLabel):
    """Response to one image or text."""

    model: str
    version: int
    data: Source | None
    request_id: str


class FileLabel(TopLabel):
    """Label of one of several files."""

    file: str


class FileError(Error):
    """Error of one of several files."""

    file: str


class Files(RootModel[list[FileLabel | FileError]]):
    """Labels or errors of a form's files, in order."""


class PredictResponse(RootModel[Predictions | Outputs | Labelled | Files]):
    """In the format of the request."""


class Base64(Body):
    """Bytes that are not text."""

    b64: str


Value = str | bool | int | float | Base64


class ExampleFeatures(RootModel[dict[str, Value | list[Value]]]):
    """A ``tf.Example``: features by name."""


class ExamplesRequest(Body):
    """Examples, and the features that they share."""

    examples: list[ExampleFeatures] = Field(min_length=1)
    context: ExampleFeatures = ExampleFeatures({})
    signature_name: str = "serving_default"


LabelAndScore = Annotated[list[str | float], Field(min_length=2, max_length=2)]
"""In this order; not every reader of such documents knows tuples."""


class Classes(Body):
    """Per example its pairs of label and score."""

    results: list[list[LabelAndScore]]


class Values(Body):
    """Per example a number."""

    results: list[float]


class Status(Body):
    """A gRPC code and its text."""

    error_code: str
    error_message: str


class VersionState(Body):
    """State of one version."""

    version: Digits
    state: str
    status: Status


class ModelStatus(Body):
    """State of the model's versions."""

    model_version_status: list[VersionState]


class ModelSpec(Body):
    """The version that the metadata is of."""

    name: str
    signature_name: str
    version: Digits


class SignatureDefMap(Body):
    """Signatures by name, as protobuf's JSON writes them."""

    signature_def: dict[str, dict[str, Any]]


class SignatureDefs(Body):
    """The only kind of metadata that there is."""

    signature_def: SignatureDefMap


class ModelMetadata(Body):
    """A version's signatures."""

    model_spec: ModelSpec
    metadata: SignatureDefs
