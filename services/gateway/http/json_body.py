"""Bodies of control requests and responses: JSON objects of known fields."""

import json
import math
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelyard.models.errors import describe_problem
from modelyard.services.gateway.http.errors import SHOWN_CHARS, InvalidRequest

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
        found = kind.model_validate_json(body)
    except ValidationError as error:
        with suppress(ValueError, RecursionError):  # malformed, or too deep: pydantic has said so
            check_unambiguous(body)
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"])
        where = f"field {field!r}: " if field else ""
        unknown = problem["type"] in ("extra_forbidden", "missing")
        hint = f"; the fields are {', '.join(kind.model_fields)}" if unknown else ""
        raise InvalidRequest(f"{where}{describe_problem(problem['msg'])}{hint}") from None
    check_unambiguous(body)
    return found


def check_unambiguous(body: bytes) -> None:
    """Raises ``InvalidRequest`` for what parsers read in different ways: names given twice, and infinite numbers.

    RFC 8259, section 4: of two equal names, some parsers take the first, some the last. ``NaN`` and ``Infinity`` are in
    no grammar of JSON, and 1e999 is infinite in most programs.
    """
    json.loads(
        body,
        object_pairs_hook=_refuse_duplicates,
        parse_constant=_refuse_constant,
        parse_float=_read_finite,
        parse_int=str,
    )


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise InvalidRequest(f"field {twice[:SHOWN_CHARS]!r}: expected once, received more than once")
    return found


def _refuse_constant(text: str) -> None:
    raise InvalidRequest(f"expected finite numbers, received {text}")


def _read_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidRequest(f"expected finite numbers, received {text[:SHOWN_CHARS]}")
    return value
