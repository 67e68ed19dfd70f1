"""Reads Parquet. Its types say what is a number, a text, a date or a list of numbers."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from modelyard.models.errors import InvalidData
from modelyard.models.readers.raw_table import LOOK_ROWS, RawTable, check_titles, make_empty, merge_chunks

_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_null,
)
"""Types whose values become texts."""


def read_parquet(file: Path, ignore: Collection[str] = (), *, look: bool) -> RawTable:
    """All rows, or with ``look`` the first ``LOOK_ROWS``; columns to ignore are empty, whatever they hold.

    Raises:
        InvalidData: it is no Parquet file, is damaged, or has a column of a type that is no input.
    """
    try:
        with parquet.ParquetFile(file) as source:
            found = _read_first(source) if look else source.read()
    except (pa.ArrowInvalid, pa.ArrowIOError, OSError) as error:
        raise InvalidData(f"{file.name} is no sound Parquet file: {error}") from error
    titles = [title.strip() for title in found.column_names]
    check_titles(file, titles)
    columns = {
        title: make_empty(len(cells)) if title in ignore else convert_column(file, title, merge_chunks(cells))
        for title, cells in zip(titles, found.columns, strict=True)
        if not title.startswith("__index_level_")  # row numbers, as pandas writes them
    }
    return RawTable(file, columns, lambda index: f"row {index + 1}")


def _read_first(source: Any) -> Any:
    batches = next(source.iter_batches(batch_size=LOOK_ROWS), None)
    return pa.Table.from_batches([batches] if batches else [], schema=source.schema_arrow)


def convert_column(file: Path, title: str, cells: Any) -> Any:
    """A column as texts, numbers or lists of numbers.

    Raises:
        InvalidData: it is none of them.
    """
    kind = cells.type
    if pa.types.is_dictionary(kind):
        return convert_column(file, title, cells.dictionary_decode())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pc.cast(cells, pa.float64(), safe=False)
    if any(is_text(kind) for is_text in _TEXTS):
        return pc.cast(cells, pa.string())
    if pa.types.is_date(kind):
        return pc.strftime(pc.cast(cells, pa.timestamp("s")), format="%Y-%m-%d")
    if pa.types.is_timestamp(kind):
        return _format_times(cells)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _convert_lists(file, title, cells)
    raise InvalidData(
        f"{file.name}, column {title!r}: expected numbers, texts, dates or lists of numbers, received {kind}; "
        "convert it, or leave it out with ignore"
    )


def _format_times(cells: Any) -> Any:
    """ISO 8601, to the second; times with a zone in UTC."""
    zone = "Z" if cells.type.tz else ""
    utc = pc.cast(cells, pa.timestamp(cells.type.unit, "UTC" if cells.type.tz else None))
    return pc.strftime(
        pc.floor_temporal(utc, unit="second").cast(pa.timestamp("s", utc.type.tz)), f"%Y-%m-%dT%H:%M:%S{zone}"
    )


def _convert_lists(file: Path, title: str, cells: Any) -> Any:
    try:
        return pc.cast(cells, pa.list_(pa.float64()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidData(
            f"{file.name}, column {title!r}: expected lists of numbers, received {cells.type}; leave it out with ignore"
        ) from error
