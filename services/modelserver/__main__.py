"""``python -m modelyard.services.modelserver``: one model server process, from flags to exit status."""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

import structlog

from modelyard.models.errors import ModelyardError
from modelyard.services import logs
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import Settings, from_flags

log = structlog.get_logger()

DRAINED, BROKEN = 0, -1
"""Put among the signals by the server: calls in flight have ended or were cut off; it cannot go on."""

LOOK_AGAIN_S = 0.2

Signals = queue.SimpleQueue[int]
"""Stop signals as they come; its ``put`` may be called from a signal handler (Python library reference, queue)."""


def main(arguments: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT; a second one ends it at once. Returns the exit status."""
    settings = from_flags(arguments)
    logs.configure("modelserver")
    log.info("starting", **settings.model_dump(mode="json"))
    signals = _listen()
    server = ModelServer(settings, when_broken=lambda: signals.put(BROKEN))
    try:
        server.start()
    except ModelyardError as error:
        log.error("not_started", cause=str(error))  # noqa: TRY400 - one line: the cause and the way out
        return error.exit_code
    received = next_of(signals)
    log.info("draining", signal=received)
    status = _drain(server, settings, signals)
    return 1 if received == BROKEN else status


def _listen() -> Signals:
    signals: Signals = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    return signals


def next_of(signals: Signals) -> int:
    """The next signal, waited for in pieces.

    Python runs a handler in the main thread; a signal that the system gave to a thread of TensorFlow does not wake it.
    """
    while True:
        with suppress(queue.Empty):
            return signals.get(timeout=LOOK_AGAIN_S)


def _drain(server: ModelServer, settings: Settings, signals: Signals) -> int:
    """0 when calls in flight have ended or their time is up; 128 + signal after a second signal."""
    stopped = server.stop(settings.drain_timeout_seconds)

    def report() -> None:
        stopped.wait()
        signals.put(DRAINED)

    threading.Thread(target=report, name="drain", daemon=True).start()
    ended_by = next_of(signals)
    log.info("stopped", drained=ended_by == DRAINED)
    return 0 if ended_by == DRAINED else 128 + ended_by


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    os._exit(status)  # threads of TensorFlow and of calls that ran out of time do not take part in Python's own exit
