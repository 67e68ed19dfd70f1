"""Signals that tests send, and those that whatever started the tests has told them to ignore."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

from tests.support.waiting import wait_until

NUMBERS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Those that a shell ignores for a job in the background, or ``nohup`` and supervisors do."""


def keep_from_children() -> None:
    """Handles signals that this process has been told to ignore, by doing nothing: only what is ignored is inherited.

    Python itself gives its children SIGPIPE's default (``restore_signals``).
    """
    for number in NUMBERS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@contextmanager
def standing_still(process: psutil.Process) -> Iterator[None]:
    """In the block, so that what a test does meanwhile may take its time."""
    stand_still(process)
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.resume()


def stand_still(process: psutil.Process) -> None:
    """Returns when it does: a process goes on for a moment after SIGSTOP, and may answer or take a job."""
    process.suspend()
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, what="a process that stands still")
