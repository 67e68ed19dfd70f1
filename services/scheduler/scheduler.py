"""Composition root of the scheduler: looks around every few seconds until it is told to stop."""

import signal
import threading

import structlog

from models.errors import ModelyardError, StorageFailed
from models.store import Store
from services import logs
from services.ledger import Ledger
from services.ledger.feedback import Feedback
from services.ledger.observations import Observations
from services.scheduler.judge import judge_all
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()


def main() -> int:
    """Runs until SIGTERM."""
    settings = SchedulerSettings.load()
    logs.configure("scheduler", settings.log_level)
    log.info("starting", **settings.shown())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    store = Store(settings.store)
    try:
        store.prepare()
        ledger = Ledger(settings.ledger_url)
        ledger.prepare()
        ledger.close()
    except ModelyardError as error:
        log.error("cannot start", cause=str(error))  # noqa: TRY400  # the text is the whole story
        return error.exit_code
    observations, feedback = Observations(settings.ledger_url), Feedback(settings.ledger_url)
    log.info("looking")
    while not ended.wait(settings.judge_s):
        look_around(store, observations, feedback)
    feedback.close()
    observations.close()
    return 0


def look_around(store: Store, observations: Observations, feedback: Feedback) -> None:
    """Everything that is to be decided now; what cannot be is tried again at the next look."""
    try:
        judge_all(store, observations, feedback)
    except StorageFailed as error:
        log.warning("cannot judge canaries", cause=str(error))
