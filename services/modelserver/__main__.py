"""``python -m modelyard.services.modelserver``: one model server process, from flags to exit status."""

import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from modelyard.models.errors import ModelyardError
from modelyard.models.imports import end_on_sigterm, pause_gc

if __name__ == "__main__":
    end_on_sigterm(os._exit)  # threads of TensorFlow take no part in Python's exit
with pause_gc():
    import structlog

    from modelyard.services import logs
    from modelyard.services.modelserver.flags import list_flags_without_effect
    from modelyard.services.modelserver.server import ModelServer
    from modelyard.services.modelserver.settings import Settings, parse_flags
    from modelyard.services.tracing.otlp import open_tracing
    from modelyard.services.tracing.settings import TracingSettings

log = structlog.get_logger()

DRAINED, FAILED = 0, -1
"""Events that the server puts among the signals: calls in flight have ended or were cut off; it has failed."""

POLL_INTERVAL_S = 0.2

Signals = queue.SimpleQueue[int]
"""Queue of stop signals; its ``put`` may be called from a signal handler (Python library reference, queue)."""


def main(arguments: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT; a second one ends it at once. Returns the exit status."""
    settings = parse_flags(arguments)
    logs.configure("modelserver")
    log.info("starting", **settings.model_dump(mode="json"))
    for name, why in list_flags_without_effect(arguments).items():
        log.warning("flag_without_effect", flag=f"--{name}", why=why)
    signals = _listen()
    try:
        traced = TracingSettings.load()
        tracing = open_tracing(traced, "modelserver")
        if tracing is not None:
            log.info("tracing", **traced.mask_secrets())
        server = ModelServer(settings, on_failure=lambda: signals.put(FAILED), tracing=tracing)
        server.start(is_wanted=signals.empty)
    except ModelyardError as error:
        log.error("start_failed", cause=str(error))  # noqa: TRY400 - one line: the cause and the way out
        return error.exit_code
    received = wait_for_signal(signals)
    log.info("draining", signal=received)
    status = _drain(server, settings, signals)
    if tracing is not None:
        tracing.close()
    return 1 if received == FAILED else status


def _listen() -> Signals:
    signals: Signals = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    return signals


def wait_for_signal(signals: Signals) -> int:
    """Waits for the next signal.

    It polls: Python runs handlers in the main thread, which a signal sent to a thread of TensorFlow does not wake.
    """
    while True:
        with suppress(queue.Empty):
            return signals.get(timeout=POLL_INTERVAL_S)


def _drain(server: ModelServer, settings: Settings, signals: Signals) -> int:
    """Waits for calls in flight. Returns 0 when they have ended or time is up; 128 + signal after a second signal."""
    stopped = server.stop(settings.drain_timeout_seconds)

    def report() -> None:
        stopped.wait()
        signals.put(DRAINED)

    threading.Thread(target=report, name="drain", daemon=True).start()
    ended_by = wait_for_signal(signals)
    log.info("stopped", drained=ended_by == DRAINED)
    return 0 if ended_by == DRAINED else 128 + ended_by


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    os._exit(status)  # threads of TensorFlow and of calls that ran out of time do not take part in Python's own exit
