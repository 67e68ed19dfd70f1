"""Workers and waiting jobs, for probes and metrics: a snapshot, as a probe must not wait for the ledger."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from modelyard.models import catalog
from modelyard.models.errors import StorageFailed
from modelyard.models.registry.store import Store
from modelyard.services.ledger import Ledger
from modelyard.services.queues import find_missing_worker

log = structlog.get_logger()

POLL_INTERVAL_S = 2.0
MAX_WAIT_S = 2.0
"""How long the first reader waits for the first snapshot."""


@dataclass(frozen=True)
class QueueState:
    """Which workers are alive, and which jobs wait."""

    workers: Mapping[str, int] = field(default_factory=dict)
    """Number of live workers by queue."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Number of jobs that no worker runs, by devices."""

    @property
    def without_worker(self) -> dict[str, int]:
        """Number of jobs that wait and that no live worker can take, by devices."""
        return {devices: count for devices, count in self.waiting.items() if find_missing_worker(devices, self.workers)}

    def describe(self) -> Iterator[str]:
        """What is wrong, one sentence for each kind of worker that is missing."""
        for devices, count in sorted(self.without_worker.items()):
            jobs = "1 job waits" if count == 1 else f"{count} jobs wait"
            yield f"{jobs} for devices {devices!r}: {find_missing_worker(devices, self.workers)}"
        if not self.workers and not self.waiting:
            yield "no trainer is alive: jobs are accepted, and wait for one"


class QueueWatch:
    """Reads the ledger in a thread that the first reader starts; a gateway whose store nobody trains for never does."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._catalog, self._ledger = store.root / catalog.FILE, ledger
        self._state: QueueState | None = None
        self._lock = threading.Lock()
        self._polled, self._ended = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> QueueState | None:
        """The last snapshot; None where nobody trains, or the ledger cannot be read."""
        if self._start():
            self._polled.wait(MAX_WAIT_S)
        return self._state

    @property
    def is_ledger_away(self) -> bool:
        """Whether the last look failed: whoever must not wait does not ask the ledger then."""
        return self._polled.is_set() and self._state is None

    def _start(self) -> bool:
        """Starts the thread, if it is not running and there is something to read; True if it did."""
        with self._lock:
            if self._thread is not None or not (self._catalog.exists() and self._ledger.exists()):
                return False
            self._thread = threading.Thread(target=self._run, name="queue state", daemon=True)
            self._thread.start()
            return True

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread:
            self._thread.join(MAX_WAIT_S)

    def _run(self) -> None:
        while not self._ended.is_set():
            self._state = self._poll()
            self._polled.set()
            self._ended.wait(POLL_INTERVAL_S)

    def _poll(self) -> QueueState | None:
        try:
            workers, waiting = self._ledger.workers.list_alive(), self._ledger.workers.count_waiting_jobs()
        except StorageFailed as error:
            if self._state is not None:
                log.warning("queue state not read", cause=str(error))
            return None
        return QueueState(Counter(queue for queues in workers.values() for queue in queues), waiting)
