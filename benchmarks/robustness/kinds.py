"""A kind of input: what it is called, what it is, and how its members are made."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from modelyard.models.types import Array

Value = TypeVar("Value")
Random = np.random.Generator
Draw = Callable[[Array, Random], bytes]
"""One picture of a digit, ``uint8 [28,28]``, white on black -> the bytes of a PNG or JPEG file."""
Invent = Callable[[Random, Sequence[Array]], bytes]
"""The same of something that is no digit. The digits are there for kinds that are made of several."""


@dataclass(frozen=True)
class DigitKind:
    """Digits as people send them."""

    name: str
    summary: str
    draw: Draw
    made_for: bool = True
    """False where the model is not expected to be right: the limits' table shows it all the same."""

    def make(self, images: Array, seed: int) -> list[bytes]:
        """A file for each of ``images`` ``uint8 [N,28,28]`` or ``[N,28,28,1]``; the same for the same seed."""
        random = seed_kind(self.name, seed)
        return [self.draw(image.reshape(image.shape[:2]), random) for image in images]


@dataclass(frozen=True)
class OtherKind:
    """Pictures that are no digit."""

    name: str
    summary: str
    invent: Invent

    def make(self, count: int, digits: Array, seed: int) -> list[bytes]:
        """So many files; ``digits`` ``uint8 [N,28,28]`` or ``[N,28,28,1]`` are what some are composed of."""
        random = seed_kind(self.name, seed)
        drawn = [image.reshape(image.shape[:2]) for image in digits]
        return [self.invent(random, drawn) for _ in range(count)]


def pick(random: Random, values: Sequence[Value]) -> Value:
    """Any of them."""
    return values[int(random.integers(len(values)))]


def seed_kind(name: str, seed: int) -> Random:
    """Of a kind's own, so that each is the same whichever others are made."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
