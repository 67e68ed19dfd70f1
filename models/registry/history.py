"""The history of a model's rollout: a file with one change a line, each with the hash of what stands before it.

Who changes, removes or moves a line breaks the chain there. Who cuts lines off at the end, or writes the whole file
anew, is found by the number of lines and the hash of the last one, which are recorded in the ledger. Slim.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from modelyard.models.errors import CorruptData
from modelyard.models.registry.manifest import FrozenModel

FILE = "history.jsonl"
START = "0" * 64
"""What the first line carries as the hash of the one before."""


class BrokenChain(CorruptData):
    """An entry was changed, added, removed or moved; the text says where."""


class Change(FrozenModel):
    """One change of a rollout."""

    at: datetime
    action: str
    version: int
    by: str
    reason: str
    detail: dict[str, Any] = Field(default_factory=dict)


class Line(Change):
    """A change as it stands in the file; lines of release 0.2 have no hash."""

    previous: str | None = None
    """SHA-256 of the line before, without its end; of all lines before, where those have none themselves."""


@dataclass(frozen=True)
class Head:
    """How far a chain goes."""

    count: int = 0
    """Number of its entries."""
    digest: str = START
    """Hash of the last one."""


def read_lines(path: Path) -> list[bytes]:
    """The complete lines of a history; none if there is no file. A line without its end was never written whole."""
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def parse_lines(lines: Sequence[bytes]) -> tuple[Change, ...]:
    """Raises ``CorruptData`` where a line is no change."""
    try:
        return tuple(map(_parse_line, lines))
    except ValueError as error:
        raise CorruptData("the rollout's history is damaged; `modelyard verify` says where") from error


def find_missing(changes: Sequence[Change], written: Sequence[Change]) -> Sequence[Change]:
    """Changes behind the last one written, whatever the clock said; the later ones, if that one is not among them."""
    if not written:
        return changes
    if written[-1] in changes:
        return changes[changes.index(written[-1]) + 1 :]
    return [change for change in changes if change.at > written[-1].at]


def is_made(now: bytes, before: bytes | None, ours: bytes) -> bool:
    """Whether a rollout, as its file has it, has the changes by which ``ours`` differs from ``before``."""
    there, old, new = (json.loads(content).get("history", []) for content in (now, before or b"{}", ours))
    added = [change for change in new if change not in old]
    return now == ours or (bool(added) and all(change in there for change in added))


def append_missing(path: Path, changes: Sequence[Change]) -> None:
    """Appends the changes that are later than the last line, and flushes them.

    What an interrupted process left of a line is replaced; a damaged line is left for ``check_lines``, as a rollback
    must stay possible. To be called under the store's lock. Raises ``OSError``.
    """
    lines = read_lines(path)
    if not (missing := find_missing(changes, _find_last_change(lines))):
        return
    digest = hash_end(lines)
    with path.open("ab") as file:
        file.truncate(sum(len(line) + 1 for line in lines))
        for change in missing:
            line = Line(**change.model_dump(), previous=digest).model_dump_json().encode()
            digest = hashlib.sha256(line).hexdigest()
            file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _find_last_change(lines: Sequence[bytes]) -> tuple[Change, ...]:
    for line in reversed(lines):
        with suppress(ValueError):
            return (_parse_line(line),)
    return ()


def _parse_line(line: bytes) -> Change:
    return Change(**Line.model_validate_json(line).model_dump(exclude={"previous"}))


def hash_end(lines: Sequence[bytes]) -> str:
    """The hash that the next line carries."""
    if not lines:
        return START
    covered = lines[-1] if _read_previous(lines[-1]) else b"".join(line + b"\n" for line in lines)
    return hashlib.sha256(covered).hexdigest()


def write_anew(path: Path) -> None:
    """Gives every change of a broken history a new hash; the broken file is kept beside it, as ``history-….broken``.

    To be called under the store's lock. Raises ``OSError``.
    """
    content, lines = path.read_bytes(), read_lines(path)
    path.with_name(f"history-{hashlib.sha256(content).hexdigest()[:12]}.broken").write_bytes(content)
    path.write_bytes(b"")
    append_missing(path, [change for line in lines for change in _find_last_change([line])])


def check_lines(lines: Sequence[bytes], known: Head) -> Head:
    """Checks every line, and that the file still has the lines that are known.

    Args:
        known: from the ledger.

    Returns:
        How far it goes now.

    Raises:
        BrokenChain: a line was changed, added, removed or moved.
    """
    digests = _hash_lines(lines)
    if known.count >= len(digests):
        raise BrokenChain(f"{known.count - len(lines)} of {known.count} lines are missing at its end")
    if digests[known.count] != known.digest:
        raise BrokenChain(
            f"line {known.count} is not the one that the ledger knows: it, or all of it, was written anew"
        )
    return Head(len(lines), digests[-1])


def _hash_lines(lines: Sequence[bytes]) -> list[str]:
    """The hash that the first line carries, and of each line the one that the next line carries."""
    found, unchained, chained = [START], hashlib.sha256(), False
    for number, line in enumerate(lines, 1):
        previous = _read_previous(line)
        if previous is None and not chained:
            unchained.update(line + b"\n")
            found.append(unchained.hexdigest())
            continue
        if previous != found[-1]:
            raise BrokenChain(f"line {max(1, number - 1)} was changed, or a line there was added, removed or moved")
        chained = True
        found.append(hashlib.sha256(line).hexdigest())
    return found


def _read_previous(line: bytes) -> str | None:
    """The hash that a line carries; None if it has none, or is no JSON."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found.get("previous") if isinstance(found, dict) else None
