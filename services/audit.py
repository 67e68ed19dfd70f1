"""Carries the histories of rollouts into the audit trail, and verifies both.

A rollout is changed in the model store alone, as a rollback must work without the ledger. What its history says is
recorded afterwards, with how far the history goes: what is cut off or written anew from then on is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from modelyard.models.errors import CorruptData, ModelyardError, StorageFailed
from modelyard.models.registry.history import (
    BrokenChain,
    Change,
    Head,
    check_lines,
    hash_end,
    parse_lines,
    read_lines,
    write_anew,
)
from modelyard.models.registry.rollout import FILE as ROLLOUT_FILE
from modelyard.models.registry.rollout import HISTORY_FILE, complete_history
from modelyard.models.registry.store import Store
from modelyard.services.ledger import Entry, Kind, Ledger, Origin
from modelyard.services.ledger.audit import HISTORY, TRAIL

log = structlog.get_logger()


@dataclass(frozen=True)
class Verified:
    """A chain of hashes, and what is wrong with it."""

    name: str
    head: Head
    fault: str = ""


class Histories:
    """The histories of all rollouts, as far as they are not recorded yet."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store, self._ledger = store, ledger
        self._logged: dict[str, str] = {}
        self._recorded: dict[str, tuple[int, ...]] = {}
        """The files of each model, as they were when all of them was recorded."""

    def record_all(self) -> None:
        """Records the changes of each model's rollout since the last time; a broken history is logged once.

        Raises:
            StorageFailed: the ledger or the store is away.
        """
        for model in self._store.models():
            before = self._read_state(model)
            if self._recorded.get(model) == before:
                continue
            try:
                record_history(self._store, self._ledger, model)
                self._recorded[model] = before
            except CorruptData as error:
                self._log_fault(model, str(error))

    def _read_state(self, model: str) -> tuple[int, ...]:
        """Inodes, sizes and times of a model's rollout and its history: a file that is replaced has another inode."""
        found = [self._store.folder(model) / name for name in (ROLLOUT_FILE, HISTORY_FILE)]
        states = [path.stat() for path in found if path.exists()]
        return tuple(number for state in states for number in (state.st_ino, state.st_size, state.st_mtime_ns))

    def _log_fault(self, model: str, cause: str) -> None:
        if self._logged.get(model) != cause:
            self._logged[model] = cause
            log.error("history not recorded", model=model, cause=cause, hint="modelyard verify")


def record_history(store: Store, ledger: Ledger, model: str) -> None:
    """Records the changes of one model's rollout since the last time.

    Raises:
        StorageFailed: the ledger or the store is away.
        CorruptData: the history is not the one that was recorded.
    """
    known = ledger.audit.read_history_head(model)
    lines = complete_history(store, model)
    head = check_lines(lines, known)
    if head != known:
        changes = parse_lines(lines[known.count :])
        ledger.audit.record_history(model, known, head, [make_entry(model, change) for change in changes])


def accept_history(store: Store, ledger: Ledger, model: str, by: str, reason: str) -> Head:
    """Records a history as it is now, whatever was recorded before; the trail says who did, and what stood there.

    A file whose chain is broken is written anew; what was found is kept beside it.

    Raises:
        StorageFailed: the ledger or the store is away.
    """
    known, lines = ledger.audit.read_history_head(model), mend_history(store, model)
    head = Head(len(lines), hash_end(lines))
    detail = {"reason": reason, "before": vars(known), "now": vars(head)}
    accepted = Entry(Kind.AUDIT, "accept history", by, model=model, detail=detail)
    if not ledger.audit.record_history(model, known, head, [accepted]):
        raise StorageFailed(f"the history of {model} is being recorded by another process; try again")
    return head


def mend_history(store: Store, model: str) -> list[bytes]:
    """The lines of a history whose chain is whole, written anew if it was broken. Raises ``StorageFailed``."""
    path = store.folder(model) / HISTORY_FILE

    def mend() -> None:
        try:
            check_lines(read_lines(path), Head())
        except BrokenChain:
            write_anew(path)

    with store.change_pointers():
        store.change_file(path, mend)
        return read_lines(path)


def make_entry(model: str, change: Change) -> Entry:
    """The entry of the trail for a change of a rollout."""
    detail = {"at": change.at.isoformat(), "reason": change.reason, **change.detail}
    origin = Origin(request_id=str(detail.pop("request_id", "")))
    return Entry(Kind.ROLLOUT, change.action, change.by, origin, model=model, version=change.version, detail=detail)


def verify(store: Store, ledger: Ledger) -> Iterator[Verified]:
    """Checks every chain: of each kind of the trail, and of each model's history.

    Raises:
        StorageFailed: the ledger or the store is away.
    """
    chains = {chain.name: chain.head for chain in ledger.audit.list_chains()}
    for kind in Kind:
        yield _verify_trail(ledger, kind)
    models = {name.removeprefix(HISTORY) for name in chains if name.startswith(HISTORY)}
    for model in sorted({*models, *store.models()}):
        yield _verify_history(store, model, chains.get(f"{HISTORY}{model}", Head()))


def _verify_trail(ledger: Ledger, kind: Kind) -> Verified:
    name = f"{TRAIL}{kind}"
    try:
        return Verified(name, ledger.audit.verify(kind))
    except BrokenChain as error:
        return Verified(name, Head(), str(error))


def _verify_history(store: Store, model: str, known: Head) -> Verified:
    name = f"{HISTORY}{model}"
    try:
        lines = read_history_lines(store, model)
        head = check_lines(lines, known)
        parse_lines(lines)
    except ModelyardError as error:
        return Verified(name, known, str(error))
    return Verified(name, head)


def read_history_lines(store: Store, model: str) -> list[bytes]:
    """Under the lock that changes them. Raises ``StorageFailed``."""
    with store.lock():
        return read_lines(store.folder(model) / HISTORY_FILE)
