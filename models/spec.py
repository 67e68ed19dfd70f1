"""The training contract: frozen values and functions. A zoo file fills in one ``ModelSpec``.

Arrays are numpy. Keras objects appear as ``Any`` here and nowhere above (Keras ships no complete type information).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from modelyard.models.errors import InvalidRecipe
from modelyard.models.ranges import Range
from modelyard.models.types import Array, Backend, Task

State = Mapping[str, Array]
"""State of preprocessing, learned from the training split (vocabulary, word vectors, ...); saved as one ``.npz``."""


# --- data ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Raw inputs and targets of equal length.

    Inputs: images ``uint8 [N,H,W,1]``, texts ``object [N]`` of ``str``, vectors ``float32 [N,D]``. Targets: class ids
    ``int32 [N]``, or ``float32 [N]`` for regression.
    """

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Splits:
    """The parts of a dataset. Choices are made on ``validation``; only evaluation uses ``test``."""

    train: Split
    validation: Split
    test: Split
    unlabelled: Array | None = None
    """Inputs without targets, for methods that can use them."""


@dataclass(frozen=True)
class RemoteFile:
    """One file of a dataset: its name in the data folder, and where to fetch it (home page first, then mirrors)."""

    name: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """Where examples come from."""

    name: str
    homepage: str
    read: Callable[[Path], Splits]
    """Reads the real files from a folder; raises ``CorruptData`` unless the decoded content is the published one."""
    files: tuple[RemoteFile, ...] = ()
    """Files to fetch; empty if ``read`` generates the data."""
    sample: Callable[[], Splits] | None = None
    """The small stand-in shipped with the project, for machines that cannot reach the real files."""
    sample_name: str = ""


# --- inputs -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageInput:
    """Grey images; the model sees ``float32 [N,height,width,1]`` with values 0..255."""

    height: int
    width: int
    kind: Literal["image"] = "image"


@dataclass(frozen=True)
class TextInput:
    """Raw UTF-8 text; ``vectorise`` turns ``string [N]`` into what the model takes, inside the exported graph."""

    vectorise: Callable[["State"], Callable[[Any], Any]]
    max_chars: int = 20_000
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class VectorInput:
    """Numbers; the model sees ``float32 [N,size]``."""

    size: int
    kind: Literal["vector"] = "vector"


ModelInput = ImageInput | TextInput | VectorInput


# --- recipes ------------------------------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True, kw_only_default=True)
def recipe(cls: type) -> type:
    """Class decorator: a frozen, keyword-only dataclass whose fields are validated and reject unknown names."""
    return validated_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)


@recipe
class Recipe:
    """Everything that a training run depends on besides code and data. Zoo files may add fields by subclassing."""

    epochs: Annotated[int, Field(ge=1, le=1000, description="Passes over the training split.")] = 1
    batch_size: Annotated[int, Field(ge=1, le=4096, description="Examples per optimiser step.")] = 64
    min_steps: Annotated[
        int,
        Field(ge=1, description="Minimum of optimiser steps: an epoch passes over a small dataset several times."),
    ] = 1
    optimizer: Annotated[Literal["sgd", "adam", "adamw"], Field(description="Keras optimiser.")] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=10, description="Peak learning rate.")] = 1e-3
    schedule: Annotated[
        Literal["constant", "one_cycle"],
        Field(description="one_cycle: linear warm-up to the peak, then cosine to nearly zero."),
    ] = "one_cycle"
    warmup: Annotated[float, Field(ge=0, lt=1, description="Share of all steps that one_cycle warms up for.")] = 0.2
    beta_2: Annotated[float, Field(gt=0, lt=1, description="Second-moment decay of adam and adamw.")] = 0.999
    weight_decay: Annotated[float, Field(ge=0, le=1, description="Decoupled weight decay of adamw.")] = 1e-4
    clip_norm: Annotated[float, Field(ge=0, description="Largest global gradient norm; 0 leaves it alone.")] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1, description="Momentum of the weight average served; 0 is off.")] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="Share of the target spread evenly.")] = 0.0
    patience: Annotated[
        int, Field(ge=0, description="Epochs without a better validation loss before stopping; 0 runs them all.")
    ] = 0
    keep: Annotated[
        Literal["best", "last"],
        Field(description="Weights to export: of the best validation loss, or the last (schedules end cold)."),
    ] = "best"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="Seeds initial weights, order and augmentation.")] = 0
    threads: Annotated[int, Field(ge=1, le=256, description="Threads within and between operations.")] = 1
    backend: Annotated[
        Backend, Field(description="What training computes with; the exported graph is TensorFlow's.")
    ] = "tensorflow"
    devices: Annotated[
        Literal["auto", "cpu", "gpu"] | Annotated[int, Field(ge=1, le=64)],
        Field(description="auto: a GPU if a worker has one, else the CPU; a number: so many GPUs of one machine."),
    ] = "auto"

    init: Annotated[
        Literal["random", "stable"],
        Field(description="Initial weights: random ones, or those of the stable version."),
    ] = "random"

    def passes(self, examples: int) -> int:
        """Passes of one epoch over so many training examples, to reach ``min_steps`` in ``epochs``."""
        steps = self.epochs * max(1, examples // self.batch_size)
        return -(-self.min_steps // steps)

    def override(self, values: Mapping[str, Any]) -> Self:
        """A copy with ``values`` (strings are converted) in place.

        Raises:
            InvalidRecipe: an unknown key (the closest valid ones are named) or a value out of range.
        """
        known = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        for key in values:
            if key not in known:
                close = get_close_matches(key, known, n=3, cutoff=0.5) or sorted(known)
                raise InvalidRecipe(f"unknown recipe key {key!r}; did you mean {', '.join(close)}?")
        try:
            return type(self)(**{**known, **values})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise InvalidRecipe(f"recipe key {where!r}: {problem['msg']}, received {problem['input']!r}") from None


# --- gate ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """Limits that a version must meet on the test split to be published. More of ``metric`` is better."""

    metric: str
    floor: float
    """Minimum on the real (or generated) data."""
    sample_floor: float
    """Minimum when trained and tested on the shipped sample."""
    max_drop: float
    """Maximum below the serving version on the same test data."""


# --- the model ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PreparedData:
    """Input of fitting: two ``keras.utils.PyDataset`` and the learned state of preprocessing."""

    train: Any
    validation: Any
    state: State = field(default_factory=dict)


@dataclass(frozen=True)
class Baseline:
    """A simple method to compare the model with; ``value`` is the gate's metric on the test split."""

    method: str
    value: float


@dataclass(frozen=True)
class ModelSpec:
    """One trainable model. See ``models/zoo`` for examples and ``docs/models.md`` for how to add one."""

    name: str
    """Lower-case identifier; equals the file name, the folder in the store and the name in URLs."""
    task: Task
    summary: str
    input: ModelInput
    labels: tuple[str, ...]
    """Class names by id; empty for regression."""
    dataset: Dataset
    recipes: Mapping[str, Any]
    """``quick`` (used by ``modelyard up``) and ``full`` (for accuracy); each a ``Recipe``."""
    gate: Gate
    prepare: Callable[[Splits, Any], PreparedData]
    """``(splits, recipe)`` -> batches; deterministic, so that a resumed run sees the same."""
    build: Callable[[Any, State], Any]
    """``(recipe, state)`` -> uncompiled ``keras.Model``; softmax ``[N,C]``, sigmoid ``[N,1]`` or linear ``[N,1]``."""
    baseline: Callable[[Splits], Baseline] | None = None
    prepare_with_state: Callable[[Splits, Any, State], PreparedData] | None = None
    """``(splits, recipe, state)``: as ``prepare``, with a state that was learned before; for warm starts. Only needed
    where ``prepare`` learns from the data: weights fit only the state that they were trained with."""
    search: Mapping[str, Range] = field(default_factory=dict)
    """Ranges that a search samples from, by recipe key; every value must be valid for the recipe."""
    loss: str = ""
    """A Keras loss by name; empty: cross-entropy for classes, mean absolute error for regression."""
