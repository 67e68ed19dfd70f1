"""The history of a rollout: a chain of hashes, in which every changed, missing or moved line is found."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelyard.models.errors import CorruptData
from modelyard.models.registry.history import START, BrokenChain, Head, check_lines, hash_end, read_lines, write_anew
from modelyard.models.registry.rollout import (
    HISTORY_FILE,
    MAX_HISTORY,
    change_rollout,
    complete_history,
    read_history,
    read_rollout,
)
from modelyard.models.registry.store import Store

MODEL = "neuron"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With five changes."""
    store = Store(tmp_path)
    promote(store, *range(1, 6))
    return store


@pytest.fixture
def path(store: Store) -> Path:
    return store.folder(MODEL) / HISTORY_FILE


def promote(store: Store, *versions: int) -> None:
    for number in versions:
        change_rollout(store, MODEL, lambda now, number=number: now.promote(number, by="ann", reason="ä"))


def versions(store: Store) -> list[int]:
    return [change.version for change in read_history(store, MODEL)]


def test_each_line_carries_the_hash_of_the_line_before(path: Path) -> None:
    """As `sha256sum` computes it, of the line without its end."""
    lines = path.read_bytes().splitlines()
    expected = [START, *(hashlib.sha256(line).hexdigest() for line in lines)]
    assert [json.loads(line)["previous"] for line in lines] == expected[:-1]
    assert check_lines(read_lines(path), Head()) == Head(5, expected[-1])


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a changed line": lambda lines: [*lines[:2], lines[2].replace(b"ann", b"bob"), *lines[3:]],
    "a space more": lambda lines: [*lines[:2], lines[2].replace(b'"by":', b'"by": '), *lines[3:]],
    "a changed hash": lambda lines: [*lines[:2], lines[2].replace(b'"previous":"', b'"previous":"0'), *lines[3:]],
    "no hash any more": lambda lines: [*lines[:2], lines[2].replace(b"previous", b"former"), *lines[3:]],
    "no JSON any more": lambda lines: [*lines[:2], b"\x00" * 9, *lines[3:]],
    "a missing line": lambda lines: lines[:2] + lines[3:],
    "a missing first line": lambda lines: lines[1:],
    "moved lines": lambda lines: [lines[1], lines[0], *lines[2:]],
    "moved last lines": lambda lines: [*lines[:3], lines[4], lines[3]],
    "a line twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "an empty line": lambda lines: [*lines[:3], b"", *lines[3:]],
    "a missing end": lambda lines: lines[:3],
    "nothing at all": lambda lines: lines[:0],
    "a changed last line": lambda lines: [*lines[:4], lines[4].replace(b"ann", b"bob")],
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_changed_removed_or_moved_is_found(path: Path, how: str) -> None:
    """The ledger knows how far it went: so a missing end is found, too."""
    lines = read_lines(path)
    head = check_lines(lines, Head())
    with pytest.raises(BrokenChain, match=r"line|lines"):
        check_lines(TAMPERED[how](lines), head)


def test_a_file_that_was_written_anew_is_found(store: Store, path: Path) -> None:
    """Whole in itself, and with more lines than before."""
    head = check_lines(read_lines(path), Head())
    path.unlink()
    (store.folder(MODEL) / "rollout.json").unlink()
    promote(store, *range(7))
    with pytest.raises(BrokenChain, match="line 5 is not the one that the ledger knows"):
        check_lines(read_lines(path), head)


def test_lines_without_hashes_of_an_older_release_are_covered_by_the_first_with_one(store: Store, path: Path) -> None:
    """All of them: a change in the first of them is found."""
    old = [{name: value for name, value in json.loads(line).items() if name != "previous"} for line in read_lines(path)]
    path.write_text("".join(json.dumps(line) + "\n" for line in old))
    before = check_lines(read_lines(path), Head())
    assert before == Head(5, hashlib.sha256(path.read_bytes()).hexdigest())
    promote(store, 6)
    assert check_lines(read_lines(path), before).count == 6
    assert versions(store) == [1, 2, 3, 4, 5, 6]
    path.write_bytes(path.read_bytes().replace(b"ann", b"bob", 1))
    with pytest.raises(BrokenChain, match="line 5 was changed"):
        check_lines(read_lines(path), Head())


def test_half_a_line_of_an_interrupted_process_is_replaced(store: Store, path: Path) -> None:
    """The change itself is in the rollout: nothing is lost, nothing is twice, and the chain is whole."""
    whole = path.read_bytes()
    for cut in (1, 40, len(read_lines(path)[-1])):
        path.write_bytes(whole[:-cut])
        assert complete_history(store, MODEL) == whole.splitlines()
    path.write_bytes(whole[:-30])
    promote(store, 6)
    assert path.read_bytes().startswith(whole)
    assert check_lines(read_lines(path), Head()).count == 6


def test_a_clock_that_went_back_loses_no_change(store: Store, path: Path) -> None:
    """The next change is earlier than the last line."""
    last = json.loads(read_lines(path)[-1])
    later = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    for file in (path, store.folder(MODEL) / "rollout.json"):
        file.write_text(file.read_text().replace(last["at"], later))
    promote(store, 6)
    assert versions(store) == [1, 2, 3, 4, 5, 6]


def test_a_damaged_history_lets_versions_change(store: Store, path: Path) -> None:
    """A rollback must not depend on it; who reads it is told how to find the damage."""
    path.write_bytes(path.read_bytes()[:-30] + b"\n")
    changed = change_rollout(store, MODEL, lambda now: now.rollback(by="ann", reason="r"))
    assert (changed.stable, read_rollout(store, MODEL).stable) == (4, 4)
    with pytest.raises(CorruptData, match="modelyard verify"):
        read_history(store, MODEL)


def test_a_broken_history_is_written_anew_and_kept(path: Path) -> None:
    """What can still be read of it gets hashes again; what was found stays beside it."""
    lines = read_lines(path)
    broken = b"".join(line + b"\n" for line in [lines[0], b"?", *lines[2:]])
    path.write_bytes(broken)
    write_anew(path)
    assert check_lines(read_lines(path), Head()) == Head(4, hash_end(read_lines(path)))
    assert [kept.read_bytes() for kept in path.parent.glob("history-*.broken")] == [broken]


def test_more_changes_than_the_rollout_holds_stay_one_chain(tmp_path: Path) -> None:
    """The file has all."""
    store = Store(tmp_path)
    promote(store, *range(1, MAX_HISTORY + 3))
    assert check_lines(read_lines(store.folder(MODEL) / HISTORY_FILE), Head()).count == MAX_HISTORY + 2
