"""Tells the operator's receiver of events, in a thread of its own: a slow receiver delays no duty of the scheduler."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import structlog

from modelyard.services.ledger import Ledger
from modelyard.services.ledger.notifications import Notification
from modelyard.services.scheduler.notifications.events import find_events
from modelyard.services.scheduler.notifications.settings import NotificationSettings
from modelyard.services.scheduler.notifications.webhook import NotDelivered, Webhook

log = structlog.get_logger()

LOOKBACK = timedelta(days=7)
"""Events that are older are told to nobody any more, however long no scheduler ran."""
KEPT = timedelta(days=30)
"""How long it is known what was told: longer than ``LOOKBACK``."""
PRUNE_S = 3600.0
AT_ONCE = 10
"""Posts between two looks for events."""
FIRST_AGAIN_S, MAX_AGAIN_S = 30.0, 3600.0
MAX_ATTEMPTS = 30
"""A day, with the pauses between them."""
STOP_S = 5.0

Count = Callable[[str], None]
"""Is told of each outcome: sent, failed, or given up."""


def pause_s(attempt: int) -> float:
    """Seconds from an attempt to the next one: doubled each time, an hour at most."""
    return min(FIRST_AGAIN_S * 2.0 ** (attempt - 1), MAX_AGAIN_S)


class Notifier:
    """Finds events, and sends them until the receiver has taken each. Any number may run."""

    def __init__(
        self,
        ledger: Ledger,
        settings: NotificationSettings,
        webhook: Webhook,
        count: Count,
        pause: Callable[[int], float] = pause_s,
    ) -> None:
        """``pause``: seconds from an attempt to the next one."""
        self._pause = pause
        self._ledger, self._settings, self._webhook, self._count = ledger, settings, webhook, count
        self._pruned_at = time.monotonic()

    def tell(self) -> None:
        """One look for events, and the posts that are due.

        Raises:
            StorageFailed: the ledger is away.
        """
        known, given = self._ledger.notifications, self._settings
        since = max(known.begin(), datetime.now(UTC) - LOOKBACK)
        chosen, drift, console = given.notify_events, given.notify_drift, given.notify_console
        known.add(tuple(find_events(self._ledger, since, chosen, drift, console)))
        for due in known.list_due(AT_ONCE):
            if claimed := known.claim(due, self._pause(due.attempts + 1)):
                self._send(claimed)
        if time.monotonic() - self._pruned_at > PRUNE_S:
            self._pruned_at = time.monotonic()
            known.prune(KEPT)

    def _send(self, claimed: Notification) -> None:
        known, name = self._ledger.notifications, {"notification": claimed.id, "attempt": claimed.attempts}
        try:
            self._webhook.post(claimed)
        except NotDelivered as error:
            over = claimed.attempts >= MAX_ATTEMPTS
            self._count("given up" if over else "failed")
            log.warning("notification given up" if over else "notification not sent", cause=str(error), **name)
            if over:
                known.end(claimed, sent=False)
            elif error.again_s > self._pause(claimed.attempts):
                known.postpone(claimed, error.again_s)
            return
        self._count("sent")
        log.info("notification sent", **name)
        known.end(claimed, sent=True)


@contextmanager
def notify(
    ledger: Ledger,
    settings: NotificationSettings,
    count: Count,
    run: Callable[[threading.Event, Callable[[], None]], None],
    on_failure: Callable[[], None],
) -> Iterator[None]:
    """Tells until the end of the block; nothing without a URL.

    Args:
        run: calls a function every few seconds until the event is set.
        on_failure: called if that ends with an error.
    """
    if settings.notify_url is None:
        yield
        return
    over = threading.Event()
    with closing(Webhook(settings)) as webhook:
        notifier = Notifier(ledger, settings, webhook, count)

        def tell() -> None:
            try:
                run(over, notifier.tell)
            except Exception:  # the outermost boundary of this thread
                log.exception("notifications ended")
                on_failure()

        thread = threading.Thread(target=tell, name="notifications", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(STOP_S + settings.notify_timeout_s)
