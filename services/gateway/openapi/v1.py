"""Bodies of TensorFlow Serving's REST API, and of our extensions of it, for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from modelyard.models.types import Source
from modelyard.services.gateway.http.json_body import Body, Digits, Error


class Rows(Body):
    """One entry per row: the only input's value, or an object of all by name, in any order."""

    instances: list[Any] = Field(min_length=1)
    signature_name: str = "serving_default"


class Columns(Body):
    """All inputs by name, each a list of as many values as there are rows; or the only one as it is."""

    inputs: Any
    signature_name: str = "serving_default"


class PredictRequest(RootModel[Rows | Columns]):
    """By row or by column."""


class WordWeight(Body):
    """A word of the text, and what it adds to the score."""

    word: str
    weight: float
    start: int = Field(description="Its first character's place in the text.")
    end: int


class ExplainedPart(Body):
    """The weights of one input: ``words`` of a text, ``weights`` of pixels, numbers or steps, or one of ``columns``."""

    words: list[WordWeight] | None = None
    weights: list[Any] | None = Field(
        default=None, description="[height][width] of an image; else one for each number."
    )
    height: int | None = None
    width: int | None = None
    image: str | None = Field(default=None, description="The pixels that the model saw, of a file: PNG in base64.")
    columns: dict[str, float] | None = None


class Explanation(ExplainedPart):
    """With ``?explain=1``: what each part of the input adds to the score of the class that is answered."""

    label: str | None = None
    class_id: int | None = None
    value: str | None = Field(default=None, description="The number that is explained, in place of a class.")
    score: float | None = Field(default=None, description="Log-odds of the class, or the number.")
    parts: dict[str, ExplainedPart] | None = Field(default=None, description="Of columns that have parts themselves.")


class Uncertain(Body):
    """How sure an answer is. Versions of before release 0.3, and imported ones, say none of it."""

    typical: bool | None = None
    """Whether the input is like those of training."""
    atypicality: float | None = None
    """How unlike them it is: above 1 it is not typical."""
    explanation: Explanation | None = None


class LabelledRow(Uncertain):
    """A row with ``?labels=true``: its likeliest class."""

    label: str
    class_id: int
    score: float
    prediction_set: dict[str, list[str]] | None = None
    """By coverage in percent, the labels that hold the true one in so many of 100 cases; it may be empty."""


class LabelScore(Body):
    """A label of several, with its score."""

    label: str
    score: float


class RowLabels(Uncertain):
    """A row with ``?labels=true``: its labels with a score of 0.5 or more, the likeliest first."""

    labels: list[LabelScore]


class RowValues(Uncertain):
    """A row with ``?labels=true``: its numbers by name."""

    values: dict[str, float]
    intervals: dict[str, dict[str, tuple[float, float]]] | None = None
    """By coverage in percent, both ends around each number that hold the true one in so many of 100 cases."""


class RowText(Uncertain):
    """A row with ``?labels=true``: its text."""

    text: str


class Predictions(Body):
    """Response to the row format: one entry per row."""

    predictions: list[LabelledRow | RowLabels | RowValues | RowText | Any]


class Outputs(Body):
    """Response to the column format: the only output, or all by name."""

    outputs: Any


class TopLabel(LabelledRow):
    """The likeliest class, and the scores of all."""

    scores: dict[str, float]


class TopLabels(RowLabels):
    """The likeliest of several labels, and the scores of all."""

    scores: dict[str, float]


class OwnOutputs(Uncertain):
    """Outputs that are none of these, by name."""

    outputs: dict[str, Any]


class Single(Body):
    """Where the response to one image, one text, or one row of a form comes from."""

    model: str
    version: int
    data: Source | None
    request_id: str


class SingleLabel(TopLabel, Single):
    """The likeliest class of one image, text or row."""


class SingleLabels(TopLabels, Single):
    """The labels of one image, text or row."""


class SingleValues(RowValues, Single):
    """The numbers of one image, text or row."""


class SingleText(RowText, Single):
    """The text of one image, text or row."""


class SingleOutputs(OwnOutputs, Single):
    """The outputs of one image, text or row."""


class File(Body):
    """One of several files."""

    file: str


class FileLabel(TopLabel, File):
    """The likeliest class of one of several files."""


class FileLabels(TopLabels, File):
    """The labels of one of several files."""


class FileValues(RowValues, File):
    """The numbers of one of several files."""


class FileText(RowText, File):
    """The text of one of several files."""


class FileOutputs(OwnOutputs, File):
    """The outputs of one of several files."""


class FileError(Error, File):
    """Error of one of several files."""


Singles = SingleLabel | SingleLabels | SingleValues | SingleText | SingleOutputs
Files = list[FileLabel | FileLabels | FileValues | FileText | FileOutputs | FileError]


class PredictResponse(RootModel[Predictions | Outputs | Singles | Files]):
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
