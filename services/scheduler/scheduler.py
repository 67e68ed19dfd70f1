"""Composition root of the scheduler: does each of its duties every few seconds until SIGTERM."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from modelyard.models.errors import ModelyardError, StorageFailed
from modelyard.models.registry.store import Store
from modelyard.services import broker, heartbeat, logs
from modelyard.services.audit import Histories
from modelyard.services.ledger import Ledger
from modelyard.services.metrics.server import serve_metrics
from modelyard.services.scheduler.canary_analysis import analyse_canaries
from modelyard.services.scheduler.drift import check_drift
from modelyard.services.scheduler.first_versions import FirstVersions
from modelyard.services.scheduler.notifications.notifier import Count, notify
from modelyard.services.scheduler.searches import SearchSteps
from modelyard.services.scheduler.serving_config import ServingConfig
from modelyard.services.scheduler.settings import SchedulerSettings
from modelyard.services.scheduler.triggers import TriggerSchedule
from modelyard.services.tracing.otlp import open_tracing

log = structlog.get_logger()


class Note(Protocol):
    """Is told of a duty that was done, or tried."""

    def __call__(self, duty: str, took_s: float, *, failed: bool) -> None: ...


Duty = tuple[float, str, Callable[[], None]]
"""Seconds between two times, its name, and what is done."""
TICK_S = 0.1
HEARTBEAT_S = 5.0
STOPPED_WRITER_S = 2.0
PRUNE_S = 3600.0
NOTIFY = "notifications"
TRAFFIC_KEPT = timedelta(days=2)


def main() -> int:
    """Runs until SIGTERM."""
    settings = SchedulerSettings.load()
    logs.configure("scheduler", settings.log_level)
    log.info("starting", **settings.mask_secrets())
    ended, failed = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    store = settings.open_store()
    tracing = open_tracing(settings, "scheduler")
    with nullcontext() if tracing is None else closing(tracing), closing(Ledger(settings.ledger)) as ledger:
        try:
            settings.require_protected()  # to model servers it only opens connections, and says nothing
            store.prepare()
            ledger.prepare()
        except ModelyardError as error:
            log.error("cannot start", cause=str(error))  # noqa: TRY400  # the text has the cause
            return error.exit_code
        queue = broker.make_sender(settings.broker)
        watch = TriggerSchedule(store, ledger, queue, tracing)
        searcher = SearchSteps(store, ledger, queue, tracing)
        first = FirstVersions(store, ledger, queue, settings.first_models, tracing)
        histories = Histories(store, ledger)
        config = ServingConfig(store, settings.serving, settings.serving_pools)
        duties: tuple[Duty, ...] = (
            (HEARTBEAT_S, "heartbeat", lambda: heartbeat.beat(settings.heartbeat)),
            (STOPPED_WRITER_S, "stopped writer", ledger.end_stopped_writer),
            (settings.first_s, "first versions", first.submit_missing),
            (settings.config_s, "configuration", config.refresh),
            (settings.judge_s, "canaries", lambda: analyse_canaries(store, ledger)),
            (settings.drift_s, "drift", lambda: check_drift(store, ledger)),
            (settings.trigger_s, "triggers", lambda: watch.fire_due(datetime.now(UTC))),
            (settings.search_s, "searches", searcher.step_all),
            (settings.history_s, "histories", histories.record_all),
            (PRUNE_S, "audit retention", lambda: prune_audit(ledger, settings)),
            (PRUNE_S, "traffic retention", lambda: ledger.observations.prune_traffic(TRAFFIC_KEPT)),
        )
        note, count = begin_metrics(settings, store, ledger, [NOTIFY, *(name for _, name, _ in duties)])

        def run(over: threading.Event, tell: Callable[[], None]) -> None:
            run_periodically(over, note, (settings.notify_s, NOTIFY, tell))

        def fail() -> None:
            failed.set()
            ended.set()

        log.info("running")
        with notify(ledger, settings, count, run, fail):
            run_periodically(ended, note, *duties)
    return int(failed.is_set())


def prune_audit(ledger: Ledger, settings: SchedulerSettings) -> None:
    """Deletes what the audit trail need not keep any more; raises ``StorageFailed``."""
    if deleted := ledger.audit.prune(settings.audit_days):
        log.info("audit entries deleted", counts=deleted)


def begin_metrics(
    settings: SchedulerSettings, store: Store, ledger: Ledger, duties: Sequence[str]
) -> tuple[Note, Count]:
    """Serves the metrics, if the settings say so; returns what is told of each duty, and of each notification."""
    if not settings.metrics_port:
        return note_nothing, count_nothing
    from modelyard.services.scheduler.metrics import DutyMetrics, NotificationMetrics, make_registry

    registry = make_registry(store, ledger, settings.pools(settings.serving, settings.serving_files))
    note, count = DutyMetrics(registry, duties).note, NotificationMetrics(registry).count
    serve_metrics(settings, registry)
    return note, count


def note_nothing(duty: str, took_s: float, *, failed: bool) -> None:
    """Where nobody reads metrics."""


def count_nothing(outcome: str) -> None:
    """Likewise."""


def run_periodically(ended: threading.Event, note: Note, *duties: Duty) -> None:
    """Does each duty every so many seconds; what cannot be done is tried again at its next time."""
    due = dict.fromkeys((name for _, name, _ in duties), 0.0)
    while not ended.wait(TICK_S):
        for every_s, name, duty in duties:
            if time.monotonic() < due[name]:
                continue
            began = time.monotonic()
            due[name] = began + every_s
            failed = False
            try:
                duty()
            except StorageFailed as error:
                failed = True
                log.warning("duty failed", duty=name, cause=str(error))
            note(name, time.monotonic() - began, failed=failed)
