"""Training in a process of its own: TensorFlow lives and dies there, and GPU memory returns with it.

``process.py`` is the other end of standard input and output, and says what goes over them. When standard input closes,
nobody wants the result any more: the child ends itself and its group.
"""

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from modelyard.models import backend
from modelyard.models.errors import ModelyardError
from modelyard.pipeline.forkserver import ForkServer, set_title
from modelyard.pipeline.job import Cancelled, Measured, Place, Rejected, Run
from modelyard.pipeline.progress import Progress
from modelyard.services.trainer.process import CANCEL, FORKED, PUBLISH, TITLE

STDIN = 0


class Wire:
    """The child's side."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else prints goes to the log
        self._words: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self.request = orjson.loads(read_line())
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, message: Mapping[str, Any]) -> None:
        self._out.write(orjson.dumps(message) + b"\n")

    def report(self, progress: Progress) -> None:
        """Raises ``Cancelled`` if the parent said so: a job reports after a batch at the latest."""
        self.say({"progress": asdict(progress)})
        if self._cancelled.is_set():
            raise Cancelled

    def ask_to_publish(self) -> None:
        """Returns when it may; raises ``Cancelled`` if it may not."""
        self.say({"asks": "publish"})
        if self._words.get() != PUBLISH:
            raise Cancelled

    def _listen(self) -> None:
        while word := read_line():
            if word == CANCEL:
                self._cancelled.set()
            self._words.put(word)
        os.killpg(os.getpid(), signal.SIGKILL)


def read_line() -> bytes:
    """Byte by byte from the file itself: ``sys.stdin``'s lock, held by a thread, would abort a child that ends."""
    line = bytearray()
    while (read := os.read(STDIN, 1)) and read != b"\n":
        line += read
    return bytes(line + read)


def main(*arguments: str) -> None:
    set_title(TITLE)
    with ForkServer(fork=FORKED in arguments) as forks:  # first of all: what has computed must not be forked
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # so that folders are cleared on the way out
        run_job(Wire(), forks)


def run_job(wire: Wire, forks: ForkServer) -> None:
    try:
        wire.say(job_outcome(wire.request, forks, wire.report, wire.ask_to_publish))
    except ModelyardError as error:
        wire.say({"error": str(error)})
    except Cancelled:
        sys.exit("cancelled")


def job_outcome(
    request: Mapping[str, Any],
    forks: ForkServer,
    report: Callable[[Progress], None],
    before_publishing: Callable[[], None],
) -> dict[str, Any]:
    """Runs the job; version, metrics, verdict and promotion as plain values."""
    backend.begin(request["backend"])
    from modelyard.pipeline.run import run

    place = request["place"]
    feedback = request["run"]["feedback"]
    outcome = run(
        Run(**request["run"] | {"feedback": Path(feedback) if feedback else None}),
        Place(Path(place["store"]), Path(place["data"]), Path(place["work"]), tuple(place["serving"])),
        forks,
        report,
        before_publishing,
    )
    if isinstance(outcome, Measured):
        return {"state": "measured", "metrics": dict(outcome.metrics)}
    if isinstance(outcome, Rejected):
        return {
            "state": "rejected",
            "reason": "; ".join(outcome.verdict.reasons),
            "metrics": dict(outcome.metrics),
            "verdict": outcome.verdict.model_dump(),
        }
    manifest = outcome.manifest
    return {
        "state": "published",
        "version": manifest.version,
        "metrics": manifest.metrics,
        "validation": dict(manifest.training.validation),
        "data": manifest.data.model_dump(),
        "verdict": manifest.verdict.model_dump(),
        "promotion": asdict(outcome.promotion),
    }


if __name__ == "__main__":
    main()
