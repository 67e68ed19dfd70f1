"""Puts each row into the training, validation or test part: by a hash of itself or of its id, or by time.

The hash makes it stay where it is as the data grows, whatever comes before or after it. So no row that a serving
version was trained on becomes a row that its successor is tested on, and equal rows are in one part.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modelyard.models.errors import InvalidData
from modelyard.models.readers.cells import blank_missing, encode_dictionary, is_date, to_numbers, to_texts
from modelyard.models.readers.raw_table import RawTable
from modelyard.models.types import Array

TRAIN, VALIDATION, TEST = 0, 1, 2
DEFAULT_SHARES = (0.8, 0.1, 0.1)
Shares = tuple[float, float, float]
MIN_ROWS = 20
"""Rows below which a tenth of them is no validation or test part."""
_CHUNK_ROWS = 100_000


def check_shares(shares: Shares) -> None:
    """Checks that three shares fill the whole.

    Raises:
        InvalidData: they do not.
    """
    if len(shares) != len(DEFAULT_SHARES) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:  # noqa: PLR2004
        raise InvalidData(
            f"split: expected shares of training, validation and test above 0 that add up to 1, received {shares}"
        )


def check_rows(file: Path, rows: int) -> None:
    """Checks that there are enough rows for three parts.

    Raises:
        InvalidData: there are not.
    """
    if rows < MIN_ROWS:
        raise InvalidData(f"{file.name} has {rows} rows: at least {MIN_ROWS} are needed, and hundreds to learn from")


def split_rows(
    table: RawTable,
    columns: Mapping[str, Any],
    shares: Shares,
    *,
    id: str | None,  # noqa: A002  # what it is called everywhere
    time: str | None,
) -> Array:
    """The part of each row ``int8 [N]``: by a time or an id if there is one, else by its inputs."""
    if time is not None:
        return split_by_time(table, time, shares)
    return split_by_content(columns, shares) if id is None else split_by_id(table, id, shares)


def split_by_content(columns: Mapping[str, Any], shares: Shares) -> Array:
    """The part of each row ``int8 [N]``, by its inputs. The target is not looked at, so that it can be corrected."""
    digests = [digest_cells(columns[title]) for title in sorted(columns)]
    count = len(digests[0])
    hashes = [
        hash_rows(np.concatenate([digest[start : start + _CHUNK_ROWS] for digest in digests], axis=1))
        for start in range(0, count, _CHUNK_ROWS)
    ]
    return choose_parts(np.concatenate(hashes), shares)


def split_by_id(table: RawTable, title: str, shares: Shares) -> Array:
    """The part of each row ``int8 [N]``, by its id.

    Raises:
        InvalidData: a row has no id.
    """
    cells = to_texts(table, title)
    missing = np.flatnonzero(cells.is_null().to_numpy(zero_copy_only=False))
    if missing.size:
        raise table.refuse(int(missing[0]), title, "the id is missing")
    return choose_parts(hash_rows(digest_cells(cells)), shares)


def split_by_time(table: RawTable, title: str, shares: Shares) -> Array:
    """The part of each row ``int8 [N]``: the newest are the test part, those before them the validation part.

    Raises:
        InvalidData: a row has no time, or one that is neither a number nor ISO 8601.
    """
    times = read_times(table, title)
    ordered, count = np.sort(times), len(times)
    test = ordered[count - max(1, round(shares[TEST] * count))]
    validation = ordered[max(0, count - round((shares[TEST] + shares[VALIDATION]) * count))]
    return np.where(times >= test, TEST, np.where(times >= validation, VALIDATION, TRAIN)).astype(np.int8)


def read_times(table: RawTable, title: str) -> Array:
    """Seconds or any other number, ``float64 [N]``."""
    if pa.types.is_float64(table.columns[title].type):
        cells = to_numbers(table, title)
        times: Array = cells.to_numpy(zero_copy_only=False)
    else:
        cells = blank_missing(to_texts(table, title))
        times = np.array([_read_time(table, title, index, text) for index, text in enumerate(cells.to_pylist())])
    if (missing := np.flatnonzero(np.isnan(times))).size:
        raise table.refuse(int(missing[0]), title, "the time is missing")
    return times


def _read_time(table: RawTable, title: str, index: int, text: str | None) -> float:
    if text is None:
        return float("nan")
    try:
        if not is_date(text):
            return float(text)
        found = datetime.fromisoformat(text)
    except ValueError:
        raise table.refuse(index, title, f"expected a time such as 2026-11-29T18:30:00, received {text!r}") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


# --- hashes -------------------------------------------------------------------------------------------------------


def digest_cells(cells: Any) -> Array:
    """``uint8 [N,B]``, equal for equal cells: of numbers their 64 bits, of texts the beginning of their SHA-256."""
    if pa.types.is_list(cells.type):
        return _to_bytes(cells.flatten().to_numpy(zero_copy_only=False).reshape(len(cells), -1))
    if pa.types.is_float64(cells.type):
        return _to_bytes(cells.to_numpy(zero_copy_only=False)[:, None])
    codes, values = encode_dictionary(cells)
    digests = b"".join(hashlib.sha256(value.encode()).digest()[:8] for value in values)
    found: Array = np.frombuffer(digests, np.uint8).reshape(-1, 8)[codes]
    return found


def _to_bytes(numbers: Array) -> Array:
    """One zero and one NaN have many bit patterns."""
    same = np.where(np.isnan(numbers), np.nan, numbers + 0.0)
    return np.ascontiguousarray(same, "<f8").view(np.uint8).reshape(len(numbers), -1)


def hash_rows(rows: Array) -> Array:
    """``uint8 [N,B]`` -> a number in 0..1 for each row, ``float64 [N]``: the beginning of its SHA-256."""
    content, width = np.ascontiguousarray(rows).tobytes(), rows.shape[1]
    digests = b"".join(
        hashlib.sha256(content[start : start + width]).digest()[:8] for start in range(0, len(content), width)
    )
    found: Array = np.frombuffer(digests, ">u8") / 2.0**64
    return found


def choose_parts(hashes: Array, shares: Sequence[float]) -> Array:
    """Parts ``int8 [N]`` of numbers in 0..1."""
    return np.searchsorted(np.cumsum(shares)[:-1], hashes, side="right").astype(np.int8)
