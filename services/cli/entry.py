"""Where the ``modelyard`` command begins: it imports next to nothing, so that Ctrl-C is understood from the start."""

import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a command that Ctrl-C ended, as shells give it; also in ``exit_codes``, which imports more."""


def main() -> None:
    """Runs the command. Ctrl-C prints no traceback, not even while modules are imported, which takes a second."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is not signal.default_int_handler:  # a shell ignores it for background processes
        interrupt = None
    if interrupt:  # nothing is begun that would have to be ended
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from modelyard.services.cli.main import main as run

    if interrupt:
        signal.signal(signal.SIGINT, interrupt)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
