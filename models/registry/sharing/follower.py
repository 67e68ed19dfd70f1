"""Makes a folder what the bucket says, pass by pass: versions first, each complete before it is visible, then rollouts.

Readers of the folder see nothing but whole versions, and a rollout only once its stable version is there. What the
bucket lists is taken as a hint, since lists may be old: what it does not list stays, and what is decided is read by its
key.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from modelyard.models.errors import CorruptData, ModelyardError, StorageFailed
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.bucket.versions import INDEX, VersionRecord, read_version_record
from modelyard.models.registry.retention import TRASH
from modelyard.models.registry.rollout import FILE as ROLLOUT_FILE
from modelyard.models.registry.rollout import Rollout, parse_rollout, read_rollout
from modelyard.models.registry.serving_config import NOTHING, find_damage, read_present
from modelyard.models.registry.serving_set import check_config, refresh_config
from modelyard.models.registry.sharing.documents import FOLLOWED, ROLLOUT, follow
from modelyard.models.registry.sharing.laying import STAGED, lay_version
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.models.registry.store import STAGING

RECORD = re.compile(r"([a-z][a-z0-9_]{0,63})/versions/([0-9]{1,16})\.json")
RETRY_S = 30.0
"""Until a version that could not be brought here is tried again."""
KEEP_S = 60.0
"""How long a version without a role stays where only those with one are wanted: model servers may be using it."""
READS = 8
"""Requests at a time."""

Key = tuple[str, int]
"""Model and version."""


@dataclass(frozen=True)
class Pass:
    """What one pass did, and what it could not do."""

    laid: tuple[Key, ...] = ()
    removed: tuple[Key, ...] = ()
    rollouts: tuple[str, ...] = ()
    """Models whose rollout changed here."""
    held_back: tuple[str, ...] = ()
    """Models whose new rollout waits for its stable version; the one before stays."""
    faults: dict[Key, str] = field(default_factory=dict)
    """Versions that could not be brought here, and why; version 0 is the model's rollout."""
    failures: tuple[ModelyardError, ...] = ()
    """Of what was tried in this pass: a fault is tried again after ``RETRY_S``."""

    @property
    def is_complete(self) -> bool:
        """Whether the folder has all that the bucket says."""
        return not self.faults and not self.held_back


@dataclass(frozen=True)
class _Fault:
    reason: str
    tag: str
    retry_at: float


class Follower:
    """Follows a bucket with one folder. One process does, whichever others read and write there."""

    def __init__(
        self,
        store: SharedStore,
        *,
        served_only: bool = False,
        pools: Sequence[str] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """``served_only``: brings only versions that have a role in a rollout, as a model server needs no others.

        ``pools``: those whose configuration is there also while no model is in them.
        """
        self._store, self._served_only, self._pools, self._now = store, served_only, tuple(pools), now
        self._tags: dict[str, str] = {}
        self._records: dict[Key, tuple[str, VersionRecord]] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._faults: dict[Key, _Fault] = {}
        self._idle_since: dict[Key, float] = {}
        self._first = True
        self._failures: list[ModelyardError] = []

    def run_pass(self) -> Pass:
        """Does what there is to do. One version's fault holds up no other.

        Raises:
            StorageFailed: the bucket is away, or the folder cannot be written; what is here stays as it is.
        """
        self._failures = []
        if self._first:
            self._store.prepare_folder()
            self._clear_leftovers()
        listed = {each.key.removeprefix(f"{INDEX}/"): each.tag for each in self._store.bucket.list(f"{INDEX}/")}
        changed = {path: tag for path, tag in listed.items() if self._tags.get(path) != tag}
        self._read_records(changed)
        self._read_rollouts(changed)
        wanted = list(self._list_wanted())
        laid = [key for key in wanted if self._bring(key)]
        rollouts, held_back = self._follow_rollouts()
        self._render()
        self._follow_documents(changed)
        others = list(self._list_others())
        laid += [key for key in others if self._bring(key)]
        self._faults = {key: each for key, each in self._faults.items() if not key[1] or key in {*wanted, *others}}
        removed = [key for key in self._list_unneeded() if self._remove(key)]
        self._first = False
        faults = {key: each.reason for key, each in self._faults.items()}
        return Pass(tuple(laid), tuple(removed), rollouts, held_back, faults, tuple(self._failures))

    # --- what the bucket says -----------------------------------------------------------------------------------------

    def _read_records(self, changed: dict[str, str]) -> None:
        matches = ((path, tag, RECORD.fullmatch(path)) for path, tag in changed.items())
        found = [(path, tag, (match[1], int(match[2]))) for path, tag, match in matches if match]
        with ThreadPoolExecutor(READS, thread_name_prefix="records") as pool:
            for (path, tag, _), ok in zip(
                found, pool.map(lambda each: self._read_record(each[2], each[1]), found), strict=True
            ):
                if ok:
                    self._tags[path] = tag

    def _read_record(self, key: Key, tag: str) -> bool:
        try:
            held = read_version_record(self._store.bucket, *key)
        except CorruptData as error:
            self._note_fault(key, error, tag)
            return False
        if held:
            self._records[key] = (tag, held.record)
        return True

    def _read_rollouts(self, changed: dict[str, str]) -> None:
        for path, tag in changed.items():
            if not (match := ROLLOUT.fullmatch(path)):
                continue
            found = self._store.bucket.read(f"{INDEX}/{path}")
            self._parse_rollout(match[1], found.data if found else None)
            self._tags[path] = tag

    def _parse_rollout(self, model: str, content: bytes | None) -> Rollout | None:
        """None for one that is damaged: then the one of before stays, as for a version that cannot be brought here."""
        try:
            found = self._rollouts[model] = parse_rollout(model, content)
        except CorruptData as error:
            self._note_fault((model, 0), error, "")
            return None
        self._faults.pop((model, 0), None)
        return found

    def _list_wanted(self) -> Iterator[Key]:
        """Versions with a role, those that answer first."""
        for model, rollout in self._rollouts.items():
            if rollout.stable is not None:
                yield model, rollout.stable
        for model, rollout in self._rollouts.items():
            yield from ((model, number) for number in reversed(rollout.loaded) if number != rollout.stable)

    def _list_others(self) -> Iterator[Key]:
        for key, (_, record) in sorted(self._records.items(), reverse=True):
            if record.state == "published" and not self._served_only:
                yield key

    # --- what comes here ----------------------------------------------------------------------------------------------

    def _bring(self, key: Key) -> bool:
        """Whether the version has come here now."""
        if self._is_here(key) and not (self._first and self._drop_damaged(key)):
            return False
        tag, record = self._records.get(key, ("", None))
        known = self._faults.get(key)
        if known and known.tag == tag and self._now() < known.retry_at:
            return False
        try:
            if record is None or record.state == "uploading":
                held = read_version_record(self._store.bucket, *key)  # a list may be older
                record = held.record if held else None
            if record is None or record.state != "published":
                raise CorruptData(f"{key[0]} version {key[1]} is no version in the bucket")
            lay_version(self._store, self._store.bucket, *key, record)
        except ModelyardError as error:
            self._note_fault(key, error, tag)
            return False
        self._faults.pop(key, None)
        return True

    def _is_here(self, key: Key) -> bool:
        return (self._store.path(*key) / manifests.FILE).exists()

    def _drop_damaged(self, key: Key) -> bool:
        """At the start: a version that was damaged here comes anew."""
        return bool(find_damage(self._store, *key)) and self._trash(key)

    def _note_fault(self, key: Key, error: ModelyardError, tag: str) -> None:
        self._failures.append(error)
        self._faults[key] = _Fault(str(error), tag, self._now() + RETRY_S)

    def _follow_rollouts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        followed, held_back = [], []
        for model, rollout in list(self._rollouts.items()):
            if rollout == self._read_here(model):
                continue
            path = self._store.folder(model) / ROLLOUT_FILE
            with self._store.lock():  # what this machine has changed in the meantime is in the bucket, too
                found = self._store.bucket.read(f"{INDEX}/{model}/{ROLLOUT_FILE}")
                newest = self._parse_rollout(model, found.data if found else None)
                if found and newest and (newest.stable is None or self._is_here((model, newest.stable))):
                    follow(path, found.data)
                    followed.append(model)
                else:
                    held_back.append(model)
        return tuple(followed), tuple(held_back)

    def _read_here(self, model: str) -> Rollout | None:
        try:
            return read_rollout(self._store, model) if (self._store.folder(model) / ROLLOUT_FILE).exists() else None
        except CorruptData:
            return None

    def _render(self) -> None:
        """At the start, what is here is checked: it may have been damaged while nobody looked."""
        if self._first:
            check_config(self._store, self._pools)
        else:
            refresh_config(self._store)

    def _follow_documents(self, changed: dict[str, str]) -> None:
        for path, tag in changed.items():
            if not FOLLOWED.fullmatch(path):
                continue
            with self._store.lock():
                if found := self._store.bucket.read(f"{INDEX}/{path}"):
                    follow(self._store.root / path, found.data)
            self._tags[path] = tag

    # --- what goes ----------------------------------------------------------------------------------------------------

    def _list_unneeded(self) -> Iterator[Key]:
        configured = read_present(self._store)
        for model in self._store.models():
            rollout = self._read_here(model)
            used = {*(rollout.loaded if rollout else ()), *configured.get(model, NOTHING).versions}
            used |= set(self._rollouts[model].loaded) if model in self._rollouts else set()
            for number in self._store.versions(model):
                if number in used:
                    self._idle_since.pop((model, number), None)
                elif self._is_unneeded((model, number)):
                    yield model, number

    def _is_unneeded(self, key: Key) -> bool:
        _, record = self._records.get(key, ("", None))
        if record and record.state == "removed":
            return True
        since = self._idle_since.setdefault(key, self._now())
        return self._served_only and record is not None and self._now() - since > KEEP_S

    def _remove(self, key: Key) -> bool:
        self._idle_since.pop(key, None)
        return self._trash(key)

    def _trash(self, key: Key) -> bool:
        folder = self._store.path(*key)
        trash = folder.with_name(f"{TRASH}{key[1]}")
        shutil.rmtree(trash, ignore_errors=True)
        try:
            folder.rename(trash)
        except OSError as error:
            raise StorageFailed(f"storage: {key[0]} version {key[1]} cannot be removed: {error.strerror}") from error
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def _clear_leftovers(self) -> None:
        """What an earlier process has left that was ended in the middle."""
        for model in self._store.models():
            for left in (
                *self._store.folder(model).glob(f"{STAGING}{STAGED}-*"),
                *self._store.folder(model).glob(f"{TRASH}*"),
            ):
                shutil.rmtree(left, ignore_errors=True)
