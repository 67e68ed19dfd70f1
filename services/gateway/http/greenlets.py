"""Plain functions that wait without holding a thread.

The views are ordinary Flask functions. In the gateway's process each prediction runs in a greenlet on the event loop's
thread; where a view waits for the model server, its greenlet yields the thread until the response is there.
(SQLAlchemy's asyncio extension works in the same way: ``sqlalchemy.util.greenlet_spawn``.) In any other thread, waiting
blocks.
"""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import greenlet

Result = TypeVar("Result")


class EventLoop:
    """The loop on which the gateway waits: the process's own, or one in a thread of its own where there is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)
                self._thread.start()
            return self._loop

    def wait_for(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of ``work``, which runs on the loop; raises what it raises."""
        current = greenlet.getcurrent()
        if isinstance(current, _Greenlet):
            return current.wait(work)
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Ends the thread, if one was started."""
        if self._thread and self._loop:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


async def run_in_greenlet(function: Callable[[], Result]) -> Result:
    """Runs a plain function on this loop's thread, with this task's context; whatever it waits for is awaited here."""
    worker = _Greenlet(function)
    worker.gr_context = contextvars.copy_context()
    outcome = worker.switch()
    while not worker.dead:
        wanted: Awaitable[Any] = outcome
        try:
            found = await wanted
        except BaseException as error:  # noqa: BLE001  # raised again in the greenlet that waits, cancellation too
            outcome = worker.throw(error)
        else:
            outcome = worker.switch(found)
    result: Result = outcome
    return result


class _Greenlet(greenlet.greenlet):
    """One function that may wait."""

    def wait(self, work: Awaitable[Result]) -> Result:
        """Switches to the greenlet that runs this one, which awaits ``work``; returns its result."""
        assert self.parent
        result: Result = self.parent.switch(work)
        return result
