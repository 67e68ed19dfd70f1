"""Threads for calls of models: of those that have nothing to do, the one that had last is next.

Its memory, and what TensorFlow and oneDNN keep for each thread, are still at hand. ``ThreadPoolExecutor`` takes the one
that has been idle longest, so that two calls at a time wander through all threads.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Work = Callable[[], object]
GivenWork = queue.SimpleQueue[Work | None]
"""What a thread is given: work, and None at its end."""


class Promised(Generic[T]):
    """Work with a future for what comes of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.future: Future[T] = Future()
        self._work = work

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001  # whoever waits for the future gets it
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class WarmThreads(Executor):
    """A fixed number of threads, which do all work in the order in which it comes. They do not keep a process alive."""

    def __init__(self, count: int, name: str) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Work] = deque()
        """Work that came while every thread had some."""
        self._is_closed = False
        self._idle = [GivenWork() for _ in range(count)]
        """Of threads that have nothing to do, the one that had last at the end."""
        self._threads = [
            threading.Thread(target=self._serve, args=(given,), name=f"{name}-{number}", daemon=True)
            for number, given in enumerate(self._idle)
        ]
        for thread in self._threads:
            thread.start()

    def start(self, work: Work) -> None:
        """Has a thread do some work, which raises nothing.

        Raises:
            RuntimeError: after ``shutdown``.
        """
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the threads have ended")
            if not self._idle:
                self._waiting.append(work)
                return
            given = self._idle.pop()
        given.put(work)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """As any executor: what comes of ``fn(*args, **kwargs)``.

        Raises:
            RuntimeError: after ``shutdown``.
        """
        promised = Promised(lambda: fn(*args, **kwargs))
        self.start(promised)
        return promised.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more work. Threads end once all that came is done; with ``cancel_futures``, what has begun."""
        with self._lock:
            self._is_closed = True
            dropped = [self._waiting.popleft() for _ in range(len(self._waiting) if cancel_futures else 0)]
            idle, self._idle = self._idle, []
        for work in dropped:
            if isinstance(work, Promised):
                work.future.cancel()
        for given in idle:
            given.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, given: GivenWork) -> None:
        """One thread's: what it is given, and then what waits."""
        while (work := given.get()) is not None:
            while work is not None:
                work()
                work = self._take_waiting(given)

    def _take_waiting(self, given: GivenWork) -> Work | None:
        """What has waited longest; None if nothing does: the thread is idle then, or at its end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._is_closed:
                given.put(None)
            else:
                self._idle.append(given)
            return None
