"""Searches, for the OpenAPI document."""

from datetime import datetime
from typing import Any, Literal

from modelyard.services.gateway.openapi.body import Body
from modelyard.services.searches import SearchRequest


class TriedShown(Body):
    """A trial in a rung; ``value`` is the metric on the validation split."""

    trial: int
    job: str
    state: str
    value: float | None
    version: int | None


class RungShown(Body):
    """How many trials train for how long, and how those do that have begun."""

    trials: int
    epochs: int
    min_steps: int
    tried: list[TriedShown]


class BestTrial(TriedShown):
    """The one that is left."""

    values: dict[str, Any]


class SearchShown(Body):
    """A search, and how it goes."""

    id: str
    model: str
    by: str
    state: Literal["running", "succeeded", "failed", "cancelled"]
    reason: str
    metric: str
    asked: SearchRequest
    values: list[dict[str, Any]]
    rungs: list[RungShown]
    jobs: dict[str, int]
    best: BestTrial | None
    created_at: datetime
    finished_at: datetime | None


class SearchList(Body):
    """The newest first."""

    searches: list[SearchShown]
