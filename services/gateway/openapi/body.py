"""What all bodies in the OpenAPI document are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
"""A number of 64 bits, which JSON writes as a string."""
Size = Annotated[int, Field(ge=0)]


class Body(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Error(Body):
    """What was expected and what came."""

    error: str
