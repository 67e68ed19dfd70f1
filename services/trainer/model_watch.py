"""Keeps the catalog as the model files are: new, edited and deleted ones are known within seconds."""

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import structlog

from modelyard.models.catalog import FILE, Catalog, read_catalog, source_digest, write_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.listing import Listed
from modelyard.models.sources.changes import Stamp, list_helpers, take_stamps
from modelyard.models.sources.files import FoundModels, ModelFile, Sources, find_models, show
from modelyard.models.tfserving.pools import ServingPools, UnknownPool
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.trainer.listing_process import LISTING_S, list_in_process

log = structlog.get_logger()

POLL_INTERVAL_S = 1.0
FIRST_LISTING_S = 30.0
"""Seconds that a worker waits at its start until all models are listed: one that hangs must not keep it for ever."""
CLOSE_S = 5.0
MAX_AT_ONCE = 8
ONE_POOL = ServingPools.of(())
FIRST_RETRY_S, MAX_RETRY_S = 15.0, 3600.0
"""Seconds until a model is listed again whose error may pass; twice as many each time."""


@dataclass(frozen=True)
class Entry:
    """What is known of one model, and of which content: SHA-256 by path, empty for a file that is not there."""

    listed: Listed
    hashes: Mapping[str, str]
    retry_s: float = FIRST_RETRY_S
    retry_at: float = 0.0
    """When it is listed again although nothing has changed, by ``time.monotonic()``; 0 for never."""

    @property
    def is_due(self) -> bool:
        return 0 < self.retry_at <= time.monotonic()


class ModelWatch:
    """Lists each model in a process of its own, and again when a file that it was made from has changed.

    One thread calls it; processes are awaited in others.
    """

    def __init__(
        self,
        store: Path,
        sources: Sources,
        forks: ForkServer,
        share: Callable[[Path], None] = lambda _: None,
        limit_s: int = LISTING_S,
        pools: ServingPools = ONE_POOL,
    ) -> None:
        """Begins with what the store's catalog knows; what another release wrote is listed again.

        Args:
            share: is called with the catalog's file once it is written.
            pools: a model whose spec names another one is listed with that error.
        """
        self._store, self._sources, self._forks, self._limit_s = store, sources.resolve(), forks, limit_s
        self._share, self._pools = share, pools
        self._digest = source_digest()
        known = read_catalog(store) or Catalog(digest="", trainable={})
        is_ours = known.digest == self._digest
        self._entries = {
            name: Entry(Listed(model=model), model.sources if is_ours else {})
            for name, model in known.trainable.items()
        }
        self._found = FoundModels({}, {})
        self._stamps: Mapping[str, Stamp] | None = None
        self._running: dict[str, threading.Thread] = {}
        self._slots, self._stopped = threading.Semaphore(MAX_AT_ONCE), threading.Event()
        self._ended: queue.SimpleQueue[tuple[str, Entry]] = queue.SimpleQueue()
        self._news = threading.Event()
        self._written: Catalog | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the catalog has all models, as their files are."""
        return self._written is not None and not self._running

    def refresh(self) -> None:
        """Begins to list what has changed, and writes the catalog if there is news.

        Raises:
            StorageFailed: the catalog cannot be written.
        """
        if self._collect_ended() | self._notice_changes() | any(entry.is_due for entry in self._entries.values()):
            hash_once = cache(hash_file)
            for name, file in self._found.files.items():
                if name not in self._running and not self._is_current(file, hash_once):
                    self._start(file, {path: hash_once(path) for path in list_context(file)})
        self._write()

    def wait(self, timeout_s: float) -> None:
        """Returns after a time, or when a process has ended."""
        self._news.wait(timeout_s)
        self._news.clear()

    def close(self) -> None:
        """Ends the processes that run, and a ``wait``."""
        self._news.set()
        self._stopped.set()
        for thread in self._running.values():
            thread.join(CLOSE_S)

    def _notice_changes(self) -> bool:
        packages = {file.path.parent for file in self._found.files.values() if file.module}
        known = {path for entry in self._entries.values() for path in entry.hashes}
        stamps = take_stamps({*self._sources.folders, *packages}, known)
        if stamps == self._stamps:
            return False
        self._stamps, self._found = stamps, find_models(self._sources)
        self._entries = {name: entry for name, entry in self._entries.items() if name in self._found.files}
        return True

    def _is_current(self, file: ModelFile, hash_of: Callable[[str], str]) -> bool:
        entry = self._entries.get(file.name)
        if entry is None or entry.is_due or str(file.path) not in entry.hashes:
            return False
        paths = entry.hashes if entry.listed.model else list_context(file)
        return {path: hash_of(path) for path in paths} == entry.hashes

    def _start(self, file: ModelFile, hashes: Mapping[str, str]) -> None:
        def run() -> None:
            with self._slots:
                listed = list_in_process(file, self._forks, self._stopped, self._limit_s)
            self._ended.put((file.name, Entry(listed, listed.model.sources if listed.model else hashes)))
            self._news.set()

        self._running[file.name] = threading.Thread(target=run, name=f"listing {file.name}", daemon=True)
        self._running[file.name].start()

    def _collect_ended(self) -> bool:
        """Takes over what processes found; whether there was any."""
        found = False
        while not self._ended.empty():
            name, entry = self._ended.get()
            self._running.pop(name).join()
            self._entries[name] = set_retry(entry, self._entries.get(name))
            log.info("model listed", model=name, error=entry.listed.error or None)
            found = True
        return found

    def _write(self) -> None:
        files = self._found.files
        listed = {
            name: judge_pool(entry.listed, files[name], self._pools)
            for name, entry in self._entries.items()
            if name in files
        }
        catalog = Catalog(
            digest=self._digest,
            trainable={name: each.model for name, each in sorted(listed.items()) if each.model},
            broken={**self._found.faults, **{name: each.error for name, each in listed.items() if not each.model}},
        )
        if catalog != self._written or not (self._store / FILE).exists():
            write_catalog(self._store, catalog)
            self._share(self._store / FILE)
            self._written = catalog


def judge_pool(listed: Listed, file: ModelFile, pools: ServingPools) -> Listed:
    """What was listed; in place of a model whose pool is unknown here, that."""
    try:
        pools.require_named(listed.model.pool if listed.model else "")
    except UnknownPool as error:
        return Listed(error=f"{show(file.path)}: {file.name}: {error}")
    return listed


def list_context(file: ModelFile) -> list[str]:
    """The files that may be at fault if a model does not load: its own, and all helpers beside it."""
    return [str(path) for path in (file.path, *list_helpers(file.path.parent))]


def hash_file(path: str) -> str:
    """SHA-256 of a file; empty if it cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def set_retry(entry: Entry, before: Entry | None) -> Entry:
    """The entry with the time when it is listed again, if its error may pass."""
    if not entry.listed.may_pass:
        return entry
    repeated = before is not None and before.retry_at and before.hashes == entry.hashes
    retry_s = min(2 * before.retry_s, MAX_RETRY_S) if before and repeated else FIRST_RETRY_S
    return replace(entry, retry_s=retry_s, retry_at=time.monotonic() + retry_s)


@contextmanager
def watch_models(
    store: Path, sources: Sources, forks: ForkServer, share: Callable[[Path], None], pools: ServingPools = ONE_POOL
) -> Iterator[Callable[[], None]]:
    """Yields the function that begins the watch, when all models are listed, or soon; it ends with the block.

    Begin after the last fork of this process: a fork keeps for ever what another thread has locked at that moment.

    Raises:
        ModelyardError: the catalog cannot be written.
    """
    watch, ended = ModelWatch(store, sources, forks, share, pools=pools), threading.Event()
    list_at_first(watch)

    def run_watch() -> None:
        while not ended.is_set():
            watch.wait(POLL_INTERVAL_S)
            try:
                watch.refresh()
            except ModelyardError as error:
                log.warning("models not listed", cause=str(error))
            except Exception:
                log.exception("models not listed")  # the outermost boundary of this thread, which has to go on

    thread = threading.Thread(target=run_watch, name="models", daemon=True)
    try:
        yield thread.start
    finally:
        ended.set()
        watch.close()
        if thread.is_alive():
            thread.join(CLOSE_S)


def list_at_first(watch: ModelWatch) -> None:
    """Lists all models; what takes longer than ``FIRST_LISTING_S`` follows while the watch runs."""
    ends_at = time.monotonic() + FIRST_LISTING_S
    watch.refresh()
    while not watch.is_complete and time.monotonic() < ends_at:
        watch.wait(POLL_INTERVAL_S)
        watch.refresh()
