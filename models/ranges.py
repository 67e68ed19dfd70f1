"""What a recipe's values may be searched over, and drawing from it. Slim: ranges travel to the gateway as JSON."""

import math
from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DIGITS = 4
"""Significant ones of a number that was drawn: a person reads it, and may type it."""


class Between(BaseModel):
    """Numbers from ``low`` to ``high``, both included; ``log``: each factor as likely as any other of its size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["linear", "log"]
    low: float
    high: float
    whole: bool = False

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.low < self.high or (self.kind == "log" and self.low <= 0):
            raise ValueError(f"expected low < high, and 0 < low for log; received {self.low:g} and {self.high:g}")
        return self

    def draw(self, random: Random) -> float | int:
        """One of them, at random."""
        if self.kind == "log":
            drawn = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = random.uniform(self.low, self.high)
        drawn = min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high)
        return round(drawn) if self.whole else drawn


class OneOf(BaseModel):
    """Any of some values, each as likely as any other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[str | int | float, ...], Field(min_length=2)]

    def draw(self, random: Random) -> str | int | float:
        """One of them, at random."""
        return random.choice(self.values)


Range = Annotated[Between | OneOf, Field(discriminator="kind")]


def log(low: float, high: float, *, whole: bool = False) -> Between:
    return Between(kind="log", low=low, high=high, whole=whole)


def linear(low: float, high: float, *, whole: bool = False) -> Between:
    return Between(kind="linear", low=low, high=high, whole=whole)


def choice(*values: str | float) -> OneOf:
    return OneOf(values=values)


def sample(ranges: Mapping[str, Between | OneOf], trials: int, seed: int) -> tuple[Mapping[str, Any], ...]:
    """Values for each trial; the same seed gives the same ones, and more trials only add to them."""
    generators = [Random(f"{seed}/{number}") for number in range(trials)]
    return tuple({key: ranges[key].draw(random) for key in sorted(ranges)} for random in generators)
