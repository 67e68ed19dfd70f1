"""Ranges that a search samples recipe values from. Slim: ranges travel to the gateway as JSON."""

import math
from collections.abc import Mapping
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SIGNIFICANT_DIGITS = 4
"""Significant digits of a sampled number: people read it, and may type it."""


class NumberRange(BaseModel):
    """Numbers from ``low`` to ``high``, both included, sampled evenly or, ``log``, evenly by their logarithm."""

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
        """A random value of the range."""
        if self.kind == "log":
            value = math.exp(random.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = random.uniform(self.low, self.high)
        value = min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high)
        return round(value) if self.whole else value

    def ends(self) -> tuple[float | int, ...]:
        """The smallest and the largest value."""
        return (round(self.low), round(self.high)) if self.whole else (self.low, self.high)


class Choice(BaseModel):
    """A list of values, each as likely as any other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["choice"] = "choice"
    values: Annotated[tuple[str | int | float, ...], Field(min_length=2)]

    def draw(self, random: Random) -> str | int | float:
        """A random value of the range."""
        return random.choice(self.values)

    def ends(self) -> tuple[str | int | float, ...]:
        """Every value."""
        return self.values


Range = Annotated[NumberRange | Choice, Field(discriminator="kind")]


def log_range(low: float, high: float, *, whole: bool = False) -> NumberRange:
    return NumberRange(kind="log", low=low, high=high, whole=whole)


def linear_range(low: float, high: float, *, whole: bool = False) -> NumberRange:
    return NumberRange(kind="linear", low=low, high=high, whole=whole)


def choice(*values: str | float) -> Choice:
    return Choice(values=values)


def sample_values(ranges: Mapping[str, NumberRange | Choice], trials: int, seed: int) -> tuple[Mapping[str, Any], ...]:
    """Values for each trial; the same seed gives the same values, and more trials only add to them."""
    generators = [Random(f"{seed}/{number}") for number in range(trials)]
    return tuple({key: ranges[key].draw(random) for key in sorted(ranges)} for random in generators)
