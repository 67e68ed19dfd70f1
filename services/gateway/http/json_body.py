"""Bodies of control requests: JSON objects of known fields."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from modelyard.services.gateway.http.errors import InvalidRequest

Body = TypeVar("Body", bound=BaseModel)


def parse_json_body(kind: type[Body], body: bytes) -> Body:
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
