"""Composition root of the sync process: pass after pass until SIGTERM."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.sharing.follower import Follower, Key, Pass
from modelyard.models.registry.sharing.shared_store import SharedStore
from modelyard.services import heartbeat, logs
from modelyard.services.metrics.server import serve_metrics
from modelyard.services.settings import InvalidSettings
from modelyard.services.sync.settings import SyncSettings

log = structlog.get_logger()

ONCE, PREPARE, SHARE = "--once", "--prepare", "--share"
"""One pass; checks that the bucket can be written; writes a file of the folder into the bucket."""


def main(arguments: Sequence[str] = ()) -> int:
    """Follows until SIGTERM, unless the arguments ask for something else.

    Raises:
        InvalidSettings: no bucket is named.
        StorageFailed: the first look at the bucket failed, or what was asked for.
    """
    settings = SyncSettings.load()
    match list(arguments):
        case [str(command)] if command == PREPARE:
            open_shared(settings).prepare()
        case [str(command), str(path)] if command == SHARE:
            open_shared(settings).share(Path(path))
        case _:
            return run(settings, once=ONCE in arguments)
    return 0


def run(settings: SyncSettings, *, once: bool = False) -> int:
    """Follows the bucket; one process at a time for each folder. Returns the exit status.

    Raises:
        InvalidSettings: no bucket is named.
        MetricsPortTaken: nothing was done.
        StorageFailed: the first look at the bucket failed; later ones are logged, and repeated.
    """
    store = open_shared(settings)
    logs.configure("sync", settings.log_level)
    log.info("starting", **settings.mask_secrets())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    store.root.mkdir(parents=True, exist_ok=True)
    with store.lock("sync", timeout_s=0):
        follower, report = make_follower(store, settings), Report()
        note, note_failure = (note_nothing, note_nothing) if once else begin_metrics(settings, store)

        def look() -> None:
            began = time.monotonic()
            done = follower.run_pass()
            report.note(done)
            note(done, time.monotonic() - began)

        look()
        while not once:
            heartbeat.beat(settings.heartbeat)
            if ended.wait(settings.sync_s):
                break
            try:
                look()
            except StorageFailed as error:
                report.note_outage(str(error))
                note_failure(error)
    return 1 if once and report.faults else 0


def begin_metrics(
    settings: SyncSettings, store: SharedStore
) -> tuple[Callable[[Pass, float], None], Callable[[ModelyardError], None]]:
    """Serves the metrics, if the settings say so; returns what is told of each pass, and of one that broke off.

    Raises:
        MetricsPortTaken: the text has the remedy.
    """
    if not settings.metrics_port:
        return note_nothing, note_nothing
    from modelyard.services.sync.metrics import make_registry

    registry, metrics = make_registry(store)
    serve_metrics(settings, registry)
    return lambda done, took_s: metrics.note(done, store, took_s), metrics.note_failure


def note_nothing(*_: object) -> None:
    """Where nobody reads metrics."""


def make_follower(store: SharedStore, settings: SyncSettings) -> Follower:
    """Of every version, or of those that are served; each pool has a configuration from the start."""
    return Follower(store, served_only=settings.sync_served_only, pools=tuple(settings.serving_pools))


def open_shared(settings: SyncSettings) -> SharedStore:
    """Raises ``InvalidSettings`` if no bucket is named."""
    store = settings.open_store()
    if not isinstance(store, SharedStore):
        raise InvalidSettings("MODELYARD_STORE_URL: expected the bucket to follow, such as s3://BUCKET/PREFIX")
    return store


class Report:
    """Logs what passes did; a fault once, until it is another one or has gone."""

    def __init__(self) -> None:
        self.faults: dict[Key, str] = {}
        self._outage = ""

    def note(self, done: Pass) -> None:
        if self._outage:
            log.info("bucket answers again")
        self._outage = ""
        for model, version in done.laid:
            log.info("version synced", model=model, version=version)
        for model, version in done.removed:
            log.info("version removed", model=model, version=version)
        for model in done.rollouts:
            log.info("rollout synced", model=model)
        for (model, version), cause in done.faults.items():
            if self.faults.get((model, version)) != cause:
                log.error("version not synced", model=model, version=version, cause=cause)
        self.faults = done.faults

    def note_outage(self, cause: str) -> None:
        """What is here is served on."""
        if cause != self._outage:
            log.warning("bucket not followed", cause=cause)
        self._outage = cause
