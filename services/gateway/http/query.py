"""Parameters of a query: each is known, and given once."""

from collections.abc import Collection, Mapping, Sequence

from modelyard.services.gateway.http.errors import InvalidRequest


def check_parameters(query: Mapping[str, Sequence[str]], known: Collection[str], several: Collection[str] = ()) -> None:
    """Checks names and numbers of values, not the values.

    Args:
        known: all names that there are.
        several: those that may come more than once.

    Raises:
        InvalidRequest: names the parameter.
    """
    for name, values in query.items():
        if name not in known:
            raise InvalidRequest(f"unknown parameter {name[:40]!r}; there are {', '.join(known) or 'none'}")
        if name not in several and len(values) > 1:
            raise InvalidRequest(f"{name}: expected once, received {len(values)} times")
