"""What may be chosen of a job, as commands have it: it imports nothing that takes time."""

from typing import Literal

from modelyard.models.errors import InvalidRecipe

DataPolicy = Literal["auto", "require-real", "sample"]
"""Which data to train on: the real files or else the sample; only the real files; the sample."""
RolloutTarget = Literal["stable", "canary", "manual", "none"]
"""Role of a published version: stable; canary, until canary analysis decides; ``manual``: a person decides.
``none``: nothing is published, and the test split is not used."""

REJECTED_EXIT_CODE = 3
"""Exit status of a command whose version was rejected."""


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """``["epochs=3"]`` -> ``{"epochs": "3"}``.

    Raises:
        InvalidRecipe: an entry without ``=``, or a second one of the same key.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign:
            raise InvalidRecipe(f"--set expects key=value, received {pair!r}")
        if key in found:
            raise InvalidRecipe(f"--set expects a key once, received {key}={found[key]} and {pair}")
        found[key] = value
    return found
