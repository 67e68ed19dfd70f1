"""Writing what has gathered, every while, in a thread that nobody waits for."""

import threading
from collections.abc import Callable


class Writer:
    """Does its work again and again from the first time that it is asked to, and once more at the end."""

    def __init__(self, name: str, every_s: float, work: Callable[[], None]) -> None:
        self._name, self._every_s, self._work = name, every_s, work
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def started(self) -> bool:
        """Whether there was ever something to write."""
        return self._thread is not None

    def start(self) -> None:
        """Begins, if it has not."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Returns when what has gathered until now is written."""
        self._ended.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._work()
        self._work()
