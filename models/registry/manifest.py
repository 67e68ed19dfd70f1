"""The manifest of a published version: all that the gateway needs to serve it, and where it came from."""

from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from modelyard.models.registry.uncertainty.record import UncertaintyRecord
from modelyard.models.types import OnAtypical, Source, Task

FILE = "assets.extra/manifest.json"
MAX_VERSION = 2**53 - 1
"""JSON's largest exact whole number. Model servers go on to 2**63 - 1; what is above ours is no version of a store."""


class FrozenModel(BaseModel):
    """A value object that travels as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TensorSpec(FrozenModel):
    """One named input or output. ``dtype`` is numpy's name or string."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    """Sizes, None where any size is allowed; None alone stands for any rank."""


class SignatureSpec(FrozenModel):
    """One callable of the SavedModel."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method: str = "tensorflow/serving/predict"
    """How TensorFlow Serving calls it: predict, classify or regress."""

    @cached_property
    def is_per_row(self) -> bool:
        """Whether every input and output has an open first size."""
        return all(spec.shape and spec.shape[0] is None for spec in (*self.inputs, *self.outputs))


class ImageLimits(FrozenModel):
    """PNG or JPEG images of any size up to ``max_pixels``; the graph scales them to height x width."""

    kind: Literal["image"] = "image"
    height: int
    width: int
    channels: Literal[1, 3, 4] = 1
    max_pixels: int = 4_000_000


class TextLimits(FrozenModel):
    """Texts of at most ``max_chars`` characters."""

    kind: Literal["text"] = "text"
    max_chars: int
    missing: bool = False
    title: str = ""


class VectorLimits(FrozenModel):
    """Vectors of exactly ``size`` numbers."""

    kind: Literal["vector"] = "vector"
    size: int


class SequenceLimits(FrozenModel):
    """Up to ``max_steps`` steps of exactly ``size`` numbers."""

    kind: Literal["sequence"] = "sequence"
    size: int
    max_steps: int


class NumberLimits(FrozenModel):
    """A number; NaN stands for a missing one."""

    kind: Literal["number"] = "number"
    missing: bool = False
    """Whether it may be missing."""
    title: str = ""
    """The column's name in the data, where that is no identifier."""


class CategoryLimits(FrozenModel):
    """One of some values, as a text; an empty one stands for a missing value."""

    kind: Literal["category"] = "category"
    values: tuple[str, ...] = ()
    """The values seen in training; others are taken as unknown."""
    missing: bool = False
    title: str = ""


class DateLimits(FrozenModel):
    """A date or time as ISO 8601; an empty text stands for a missing one."""

    kind: Literal["date"] = "date"
    missing: bool = False
    title: str = ""


OneLimits = Annotated[
    ImageLimits | TextLimits | VectorLimits | SequenceLimits | NumberLimits | CategoryLimits | DateLimits,
    Field(discriminator="kind"),
]


class NamedLimits(FrozenModel):
    """Several inputs, by the names of their tensors in ``serving_default``; a table has one for each column."""

    kind: Literal["named"] = "named"
    inputs: dict[str, OneLimits]


InputLimits = Annotated[
    ImageLimits | TextLimits | VectorLimits | SequenceLimits | NumberLimits | CategoryLimits | DateLimits | NamedLimits,
    Field(discriminator="kind"),
]


class DataRecord(FrozenModel):
    """The data that the version was trained and evaluated on."""

    name: str
    source: Source
    """``sample``: the shipped stand-in, because the real data was not available."""
    fingerprint: str
    """SHA-256 over the raw examples of all splits, in order."""
    train: int
    validation: int
    test: int
    feedback: int = 0
    """Examples of the training split that came from feedback."""
    classes: dict[str, int] = {}
    """Rows of all splits by label; empty for other tasks, and in versions of release 0.2."""
    missing: dict[str, float] = {}
    """Share of missing values in the training split by input, where there are any."""
    warnings: tuple[str, ...] = ()
    """What stood out in the data; the whole data card is ``assets.extra/data_card.json``."""


class RecipeRecord(FrozenModel):
    """The recipe, with overrides applied."""

    name: str
    values: dict[str, Any]


class BaselineRecord(FrozenModel):
    """A simple method on the same test data."""

    method: str
    value: float


class Training(FrozenModel):
    """The training run."""

    parameters: int
    epochs: int
    best_epoch: int
    history: tuple[dict[str, float], ...]
    """Per epoch: loss and metrics on the training and (``val_``) validation split."""
    cpu_s: float
    wall_s: float
    weights_sha256: str
    started_from: int | None = None
    """The version whose weights training started from; None for random ones."""

    @property
    def validation(self) -> Mapping[str, float]:
        """Loss and metrics of the exported weights on the validation split."""
        return validation_metrics(self.history[self.best_epoch - 1]) if self.history else {}


def validation_metrics(epoch: Mapping[str, float]) -> Mapping[str, float]:
    """The ``val_`` values of an epoch's metrics, without the prefix."""
    return {name.removeprefix("val_"): value for name, value in epoch.items() if name.startswith("val_")}


class TestRecord(FrozenModel):
    """The data that an imported version was evaluated on."""

    name: str
    """The file's name."""
    sha256: str
    examples: int


class ImportRecord(FrozenModel):
    """Where a version came from that was trained elsewhere."""

    path: str
    """The folder or file on the machine that imported it."""
    form: Literal["SavedModel", "Keras"]
    """A SavedModel is taken as it is; a Keras file (``.keras``) is exported as one."""
    files: dict[str, str]
    """SHA-256 of the files there, by relative path."""
    tensorflow: str
    """The version that wrote the SavedModel; empty if it does not say."""
    test: TestRecord | None
    """None if there was no test data: then nothing was measured."""


class Environment(FrozenModel):
    """The software and device that trained the version, or imported it."""

    code: str
    """Revision of the code, or ``unknown``."""
    python: str
    tensorflow: str
    keras: str
    numpy: str
    backend: str
    jax: str | None = None
    """Version of JAX; None with another backend."""
    device: str
    """``cpu``; or ``gpu:2`` for two at once."""


class Verdict(FrozenModel):
    """The gate's decision, and its reasons."""

    accepted: bool
    reasons: tuple[str, ...]
    metric: str | None
    """None, as its value, of an imported version that nothing was measured of."""
    value: float | None
    champion: int | None
    """The serving version that it was compared with, on the same test data."""
    champion_value: float | None


class VersionSize(FrozenModel):
    """Bytes of what a model server loads of a version."""

    parameters: int
    graph: int
    assets: int
    """Vocabularies and the like."""


class Manifest(FrozenModel):
    """``assets.extra/manifest.json`` of one version; written last, so a version that has one is complete."""

    format: Literal[1] = 1
    model: str
    version: Annotated[int, Field(ge=1)]
    task: Task
    summary: str
    created_at: datetime
    input: InputLimits | None
    """None of an imported version: it takes what its signatures say."""
    labels: tuple[str, ...]
    """Class names by id, or the names of several numbers."""
    probabilities: str | None = None
    """Output with the probabilities of the classes, float ``[N,C]``, or ``[N,1]`` of the second of two classes; of an
    imported version, whose outputs have names of their own. None: ``probabilities``, beside ``class_id``."""
    signatures: dict[str, SignatureSpec]
    example: Any
    """One instance as it stands in a ``:predict`` body for ``serving_default``: a value, or an object of named ones."""
    data: DataRecord | None
    """None, as recipe and training, of an imported version."""
    recipe: RecipeRecord | None
    training: Training | None
    imported: ImportRecord | None = None
    uncertainty: UncertaintyRecord | None = None
    """What the version says beside its answers; None of an imported version, and of those before release 0.3."""
    on_atypical: OnAtypical = "flag"
    """What the gateway's own forms answer to an input that is not typical."""
    batches: bool = True
    """Whether each row's outputs depend on that row alone, so that requests may share a run."""
    metrics: dict[str, float]
    """Headline numbers on the test split; the whole evaluation is ``assets.extra/evaluation.json``."""
    baseline: BaselineRecord | None
    verdict: Verdict
    environment: Environment
    job: str | None = None
    """The job that produced it; None if it did not come from the queue."""
    pool: str = ""
    """The pool of model servers that its spec names; empty: it leaves that to others."""
    size: VersionSize | None = None
    """None of versions before release 0.3."""
    files: dict[str, str]
    """SHA-256 of every other file of the version, by relative path."""


def parse_version(name: str) -> int | None:
    """The version that a folder's name stands for, as model servers read it: leading zeros count for nothing."""
    digits = name.lstrip("0")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(MAX_VERSION))):
        return None
    return number if (number := int(digits)) <= MAX_VERSION else None
