"""Signals that whatever started the tests has told them to ignore: not so the processes that they start."""

import signal

NUMBERS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Those that a shell ignores for a job in the background, or ``nohup`` and supervisors do."""


def keep_from_children() -> None:
    """Handles signals that this process has been told to ignore, by doing nothing: only what is ignored is inherited.

    Python itself gives its children SIGPIPE's default (``restore_signals``).
    """
    for number in NUMBERS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
