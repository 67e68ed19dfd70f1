"""What a gateway says of itself, for the OpenAPI document."""

from typing import Any, Literal

from pydantic import Field, RootModel

from modelyard.services.gateway.openapi.body import Body


class Alive(Body):
    """The process answers."""

    live: Literal[True]


class Ready(Body):
    """Predictions would be answered."""

    ready: Literal[True]


class NotReady(Body):
    """Why predictions would not be answered."""

    ready: Literal[False]
    reasons: list[str] = Field(min_length=1)


class Release(Body):
    """Name and version."""

    name: str
    version: str


class Routes(Body):
    """Methods and paths."""

    routes: list[str]


class Document(RootModel[dict[str, Any]]):
    """OpenAPI 3.1."""
