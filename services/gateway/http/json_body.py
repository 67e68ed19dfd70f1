"""Bodies of control requests and responses: JSON objects of known fields."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.services.gateway.http.errors import InvalidRequest

Kind = TypeVar("Kind", bound=BaseModel)
Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
"""A number of 64 bits, which JSON writes as a string."""
Size = Annotated[int, Field(ge=0)]


class Body(BaseModel):
    """A JSON object with these keys and no others. ``http_status`` of its class is that of the response."""

    model_config = ConfigDict(extra="forbid", from_attributes=True, defer_build=True)


class Error(Body):
    """What was expected and what came."""

    error: str


def parse_json_body(kind: type[Kind], body: bytes) -> Kind:
    """Raises ``InvalidRequest``, which names the field and, where that helps, those that there are."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        where = f"field {field!r}: " if field else ""
        unknown = problem["type"] in ("extra_forbidden", "missing")
        hint = f"; the fields are {', '.join(kind.model_fields)}" if unknown else ""
        raise InvalidRequest(f"{where}{problem['msg']}{hint}") from None
