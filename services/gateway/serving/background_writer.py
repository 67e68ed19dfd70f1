"""Periodic writes in a background thread that no request waits for."""

import threading
from collections.abc import Callable


class BackgroundWriter:
    """Calls ``work`` at every interval once it is started, and once more at the end."""

    def __init__(self, name: str, interval_s: float, work: Callable[[], None]) -> None:
        self._name, self._interval_s, self._work = name, interval_s, work
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def start(self) -> None:
        """Starts the thread, if it is not running."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Returns when everything until now is written."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._work()
        self._work()
