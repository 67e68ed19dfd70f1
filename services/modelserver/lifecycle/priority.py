"""Work that predictions go before."""

import contextvars
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

LOADING_NICENESS = 10
"""A tenth of a normal thread's share where both compete; a load of 0.2 s then takes about 2 s on a busy machine."""
Result = TypeVar("Result")


def run_at_low_priority(work: Callable[[], Result]) -> Result:
    """What the work returns, or raises, in a thread of its own: on Linux niceness belongs to the thread, for good."""
    outcome: Future[Result] = Future()

    def run() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADING_NICENESS)
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(run,), name="load-low", daemon=True).start()
    return outcome.result()
