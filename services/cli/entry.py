"""Where the ``modelyard`` command begins: it imports next to nothing, so that Ctrl-C is understood from the start."""

import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT
"""Exit status of a command that Ctrl-C ended, as shells give it; also in ``exit_codes``, which imports more."""


def main() -> None:
    """Runs the command. Ctrl-C prints no traceback, not even while modules are imported."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is not signal.default_int_handler:  # a shell ignores it for background processes
        interrupt = None
    if interrupt:  # nothing is begun that would have to be ended
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        from modelyard.services.cli.main import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}; commands need more than the client does: pip install 'modelyard[cli]'")

    if interrupt:
        signal.signal(signal.SIGINT, interrupt)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
