"""Names in a body to the inputs of a table: in any order, by tensor or by title."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from modelyard.models.registry.inputs.input_table import Column, InputTable
from modelyard.services.gateway.http.errors import InvalidRequest

MAX_MATCHES = 64
"""Orders of names that are remembered: clients mostly have one each."""
SHOWN_CHARS = 40
SHOWN_NAMES_CHARS = 400
"""Of a list of names in an error."""


def match_names(table: InputTable, given: tuple[str, ...], *, whole: bool = False) -> tuple[tuple[Column, str], ...]:
    """The columns that names stand for, in the table's order, each with its name.

    Args:
        whole: whether columns that may be missing have to be named, too.

    Raises:
        InvalidRequest: names that are none, are given twice, or are missing; with those that are expected.
    """
    if (cached := table.matches.get((given, whole))) is not None:
        return cached
    found = find_columns(table, given, whole=whole)
    if len(table.matches) < MAX_MATCHES:
        table.matches[given, whole] = found
    return found


def find_columns(table: InputTable, given: tuple[str, ...], *, whole: bool) -> tuple[tuple[Column, str], ...]:
    known = table.choose_names(frozenset(given))
    found = {known[name]: name for name in given if name in known}
    wrong = [*describe_wrong(table, known, given), *describe_absent(table, found, whole=whole)]
    if wrong:
        raise InvalidRequest(f"{'; '.join(wrong)}; expected {list_expected(table, marked=not whole)}")
    return tuple((column, found[column]) for column in table.columns if column in found)


def describe_wrong(table: InputTable, known: Mapping[str, Column], given: tuple[str, ...]) -> Iterator[str]:
    """What names of no column, or of one that is named already, are called in an error."""
    if unknown := [name for name in given if name not in known]:
        mixed = known == {} and any(name in table.ambiguous for name in given)
        yield (
            f"expected either the titles or the names of all, as {join_names(sorted(table.ambiguous))} can be both"
            if mixed
            else f"unknown: {join_names(unknown)}"
        )
    counts = Counter(known[name] for name in given if name in known)
    if twice := [name for name in dict.fromkeys(given) if name in known and counts[known[name]] > 1]:
        yield f"given twice: {join_names(twice)}"


def describe_absent(table: InputTable, found: Mapping[Column, str], *, whole: bool) -> Iterator[str]:
    """What columns that have to be named, and are not, are called in an error."""
    if absent := [column.title for column in table.columns if column not in found and (whole or not column.missing)]:
        yield f"missing: {join_names(absent)}"


def list_expected(table: InputTable, *, marked: bool = True) -> str:
    """The names of a table's inputs; those that may be missing are marked, unless they have to be named too."""
    return join_names(
        f"{column.title} (may be missing)" if marked and column.missing else column.title for column in table.columns
    )


def join_names(names: Iterable[str]) -> str:
    """Names, cut short, as many as an error holds."""
    found = [name if 0 < len(name) <= SHOWN_CHARS else f'"{name[:SHOWN_CHARS]}"' for name in names]
    text = ", ".join(found)
    return text if len(text) <= SHOWN_NAMES_CHARS else f"{text[:SHOWN_NAMES_CHARS]}… ({len(found)} in all)"
