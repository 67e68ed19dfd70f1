"""Recipes: everything that a training run depends on besides code and data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated_dataclass

from modelyard.models.errors import InvalidRecipe, describe_problem
from modelyard.models.types import Backend

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


@dataclass_transform(frozen_default=True, kw_only_default=True)
def recipe(cls: type) -> type:
    """Class decorator: a frozen, keyword-only dataclass whose fields are validated and reject unknown names.

    To create one that is wrong raises ``InvalidRecipe``, which names the key and what it takes.
    """
    checked = validated_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(
        cls
    )
    fill = checked.__init__

    @wraps(fill)
    def create(self: Any, *args: Any, **values: Any) -> None:
        try:
            fill(self, *args, **values)
        except ValidationError as error:
            raise InvalidRecipe(describe_refusal(error, [entry.name for entry in fields(checked)])) from None

    checked.__init__ = create  # type: ignore[method-assign]  # what a dataclass makes of it is kept, and called
    return checked


def describe_refusal(error: ValidationError, known: Sequence[str]) -> str:
    """The first problem with each key of a recipe, as one line."""
    problems = {problem["loc"][:1]: problem for problem in reversed(error.errors(include_url=False))}
    return "; ".join(describe_key(problems[key], known) for key in reversed(problems))


def describe_key(problem: "ErrorDetails", known: Sequence[str]) -> str:
    key, received = problem["loc"][0] if problem["loc"] else "", problem["input"]
    if problem["type"] == "unexpected_positional_argument":
        return f"a recipe takes its values by name, as in Recipe(epochs=5), received {received!r} without one"
    if problem["type"] == "unexpected_keyword_argument":
        return describe_unknown_key(str(key), known)
    where = ".".join([str(key), *(str(part) for part in problem["loc"][1:] if isinstance(part, int))])
    return f"recipe key {where!r}: {describe_problem(problem['msg'])}, received {received!r}"


def describe_unknown_key(key: str, known: Iterable[str]) -> str:
    close = get_close_matches(key, known := sorted(known), n=3, cutoff=0.5) or known
    return f"unknown recipe key {key!r}; did you mean {', '.join(close)}?"


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
                raise InvalidRecipe(describe_unknown_key(key, known))
        return type(self)(**{**known, **values})
