"""The training contract: frozen values and functions. A model's file ends in one ``ModelSpec``.

Only ``dataset`` has to be given. What is left out follows from the data (``Schema``) or is a default for its kind of
input (``modelyard.models.defaults``). Arrays are numpy. Keras objects appear as ``Any`` here and nowhere above (Keras
ships no complete type information).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.models.data import Dataset, Inputs, Split, Splits
from modelyard.models.inputs import ModelInput, State
from modelyard.models.ranges import Range
from modelyard.models.types import Array, Direction, OnAtypical, Source, Task

OPEN: Any = None
"""Value of a field that was left out. Stages see none: they get specs that ``resolve`` has completed."""


# --- gate ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """Limits that a version must meet on the test split to be published.

    A metric of which more is better has a floor, one of which less is better a ceiling. With neither, the version must
    beat the simplest answer there is: always the commonest class, or the mean.
    """

    metric: str
    floor: float | None = None
    """Minimum on the real (or generated) data."""
    sample_floor: float | None = None
    """Minimum when trained and tested on the shipped sample; None: as on the real data."""
    max_drop: float = 0.01
    """Maximum by which it may be worse than the serving version on the same test data."""
    ceiling: float | None = None
    """Maximum on the real (or generated) data, of a metric of which less is better."""
    sample_ceiling: float | None = None
    """Maximum when trained and tested on the shipped sample; None: as on the real data."""
    max_ece: float | None = None
    """Maximum of the expected calibration error on the real (or generated) data, whatever the metric is."""

    def limit(self, source: Source) -> float | None:
        """The floor or ceiling on data of this source; None if there is neither."""
        real, sample = (self.floor, self.sample_floor) if self.ceiling is None else (self.ceiling, self.sample_ceiling)
        return sample if source == "sample" and sample is not None else real


# --- own steps ----------------------------------------------------------------------------------------------------

Predict = Callable[[Inputs], Mapping[str, Array]]
"""Calls ``serving_default`` of the exported version: raw inputs of N examples -> outputs by name."""
Encode = Callable[[Any], Any]
"""The raw input tensor, or several by name -> what the model takes. Part of the exported graph."""
SignatureFunction = Callable[..., Mapping[str, Any]]
"""Raw input tensors, by keyword -> output tensors by name. TensorFlow code, part of the exported graph."""


@dataclass(frozen=True)
class FitRun:
    """What a training loop of a model's own gets; it changes the weights of ``model``."""

    model: Any
    """The uncompiled ``keras.Model`` that ``build`` returned."""
    data: "PreparedData"
    recipe: Any
    report: Callable[[int, Mapping[str, float]], None]
    """Reports the end of an epoch, counted from 1, with its metrics. Call it often: a job is cancelled here."""


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


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the author says in the model card of each version. What the pipeline knows stands there by itself."""

    purpose: str = ""
    """What it was made for, in a sentence or two."""
    made_for: tuple[str, ...] = ()
    """Inputs and uses that it is made for."""
    not_made_for: tuple[str, ...] = ()
    """Inputs and uses that it is not made for."""
    limits: tuple[str, ...] = ()
    """Where it fails, as far as is known."""
    data: str = ""
    """Where the data comes from, and whom or what it represents."""
    license: str = ""
    """Of the model: an SPDX identifier such as ``Apache-2.0``, or a few words."""
    contact: str = ""
    """Whom to ask."""
    measured: str = ""
    """A JSON file beside the model's, with what was measured on kinds of input: ``docs/model-cards.md``."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One trainable model. Only ``dataset`` has to be given; ``docs/models.md`` shows how the rest refines it."""

    dataset: Dataset
    """Where examples come from: ``table``, ``texts``, ``image_folder``, ``arrays``, or a ``Dataset`` of your own."""
    file: Path | None = None
    """The file that it was loaded from; set by the loader."""
    name: str = ""
    """Lower-case identifier; the file's name, which it is if left out. Folder in the store and name in URLs."""
    summary: str = ""
    """One line for people; the first line of the file's docstring if left out."""
    task: Task = OPEN
    """What is predicted. Left out, the data tells."""
    input: ModelInput = OPEN
    """What the model takes: one input, or several by name. Left out, the data tells."""
    labels: tuple[str, ...] = ()
    """Class names by id, or the names of several numbers. Left out, the data tells; empty for one number."""
    recipes: Mapping[str, Any] = field(default_factory=dict)
    """``quick`` (used by ``modelyard up``) and ``full`` (for accuracy), each a ``Recipe``; left out, the defaults."""
    gate: Gate = OPEN
    """When a version may be published. Left out: better than the simplest answer, and than the serving version."""
    prepare: Callable[[Splits, Any], PreparedData] = OPEN
    """``(splits, recipe)`` -> batches; deterministic, so that a resumed run sees the same."""
    build: Callable[[Any, State], Any] = OPEN
    """``(recipe, state)`` -> uncompiled ``keras.Model``; softmax ``[N,C]``, sigmoid ``[N,1]`` (or ``[N,C]`` for several
    labels at once) or linear ``[N,K]``."""
    encode: Callable[[State], Encode] | None = None
    """``state`` -> the function between raw inputs and the model, inside the exported graph; its layers and tables are
    saved with it. Only needed where ``prepare`` gives the model something else than the raw inputs."""
    baseline: Callable[[Splits], Baseline] | None = None
    """A simple method, measured once per dataset for the decision record."""
    prepare_with_state: Callable[[Splits, Any, State], PreparedData] | None = None
    """``(splits, recipe, state)``: as ``prepare``, with a state that was learned before; for warm starts. Only needed
    where ``prepare`` learns from the data: weights fit only the state that they were trained with."""
    search: Mapping[str, Range] = field(default_factory=dict)
    """Ranges that a search samples from, by recipe key; every value must be valid for the recipe."""
    loss: str = ""
    """A Keras loss by name; empty: cross-entropy for classes, mean absolute error for regression."""
    fit: Callable[[FitRun], None] | None = None
    """A training loop of your own, in place of Keras's ``fit``: reinforcement learning, two networks, and so on. It is
    not resumed: an attempt that lost its worker starts again."""
    evaluate: Callable[[Predict, Split], Mapping[str, float]] | None = None
    """Metrics of your own, beside those of the task, measured on the exported version and the test split."""
    on_atypical: OnAtypical = "flag"
    """What the gateway's own forms answer to an input unlike those of training: say so, refuse it, or say nothing."""
    feature_layer: str = ""
    """Name of the layer whose input tells typical inputs from others; the last one with a kernel if left out."""
    metrics: Mapping[str, Direction] = field(default_factory=dict)
    """The names that ``evaluate`` returns, and whether more or less of each is better."""
    signatures: Callable[[Any, State], Mapping[str, SignatureFunction]] | None = None
    """``(model, state)`` -> functions to export by name, ``serving_default`` among them; each takes the model's inputs
    by keyword. Left out: one that returns what the task says."""
    explain: bool = True
    """Whether a version says why it answers as it does, by the signature ``explain``: weights of pixels, words or
    columns. One that ``signatures`` has by that name stands instead."""
    card: Card | None = None
    """The author's words for the model card."""
    pool: str = ""
    """The pool of model servers that serves it, such as ``gpu``, as ``MODELYARD_SERVING_POOLS`` names them. Left out:
    where it is, or the default pool."""
