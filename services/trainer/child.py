"""The training process: TensorFlow runs in it alone, and its GPU memory is freed when it ends.

``process.py`` is the other end of standard input and output, and describes the messages. When standard input closes,
the parent is gone: the child ends itself and its group.
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

from modelyard.models.backend import use_backend
from modelyard.models.errors import ModelyardError
from modelyard.models.sources.files import Sources
from modelyard.models.tfserving.tls_files import TlsFiles
from modelyard.pipeline.event_files import record_events
from modelyard.pipeline.job import Cancelled, JobLocations, Measured, Outcome, Rejected, TrainingJob, describe_published
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.processes.forkserver_process import set_process_title
from modelyard.pipeline.progress import Progress
from modelyard.services.trainer.mlflow_run import track_job
from modelyard.services.trainer.process import CANCEL, FORKED, PUBLISH, TITLE
from modelyard.services.trainer.stage_lines import StageLines

STDIN = 0


class ParentConnection:
    """Messages to and from the parent."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # other output goes to the log
        self._commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._lines = StageLines()
        self.request = orjson.loads(read_line())
        threading.Thread(target=self._listen, daemon=True).start()

    def send_message(self, message: Mapping[str, Any]) -> None:
        self._out.write(orjson.dumps(message) + b"\n")

    def report(self, progress: Progress) -> None:
        """Sends progress; raises ``Cancelled`` if the parent cancelled: a job reports after a batch at the latest."""
        self._lines.write(progress)
        self.send_message({"progress": asdict(progress)})
        if self._cancelled.is_set():
            raise Cancelled

    def send_error(self, reason: str) -> None:
        self._lines.write_error(reason)
        self.send_message({"error": reason})

    def require_permission(self) -> None:
        """Returns when the parent allows publishing, or the promotion; raises ``Cancelled`` if it does not."""
        self.send_message({"request": "publish"})
        if self._commands.get() != PUBLISH:
            raise Cancelled

    def _listen(self) -> None:
        while command := read_line():
            if command == CANCEL:
                self._cancelled.set()
            self._commands.put(command)
        os.killpg(os.getpid(), signal.SIGKILL)


def read_line() -> bytes:
    """Reads byte by byte from the descriptor: ``sys.stdin``'s lock, held by a thread, would abort a child that ends."""
    line = bytearray()
    while (read := os.read(STDIN, 1)) and read != b"\n":
        line += read
    return bytes(line + read)


def main(*arguments: str) -> None:
    set_process_title(TITLE)
    with ForkServer(fork=FORKED in arguments) as forks:  # first of all: what has computed must not be forked
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # an exit removes temporary folders
        send_outcome(ParentConnection(), forks)


def send_outcome(connection: ParentConnection, forks: ForkServer) -> None:
    try:
        outcome = run_request(connection.request, forks, connection.report, connection.require_permission)
        connection.send_message(outcome)
    except ModelyardError as error:
        connection.send_error(str(error))
    except Cancelled:
        sys.exit("cancelled")


def run_request(
    request: Mapping[str, Any],
    forks: ForkServer,
    report: Callable[[Progress], None],
    require_permission: Callable[[], None],
) -> dict[str, Any]:
    """Runs the job. Returns its version, metrics, verdict and promotion as plain values."""
    use_backend(request["backend"])
    from modelyard.pipeline.run import run_job

    locations, tracking = request["locations"], request["tracking"]
    feedback = request["run"]["feedback"]
    with (
        record_events(tracking["events"] and Path(tracking["events"]), report) as recorded,
        track_job(tracking["mlflow"], request["run"], tracking["params"], recorded) as tracked,
    ):
        outcome = run_job(
            TrainingJob(**request["run"] | {"feedback": Path(feedback) if feedback else None}),
            JobLocations(
                Path(locations["store"]),
                Path(locations["data"]),
                Path(locations["work"]),
                tuple(locations["serving"]),
                Sources(tuple(map(Path, locations["models"]))),
                locations["store_url"],
                {pool: tuple(addresses) for pool, addresses in locations["named_pools"].items()},
                locations["pool_memory"],
                TlsFiles.from_texts(locations["tls"]) if locations["tls"] else None,
            ),
            forks,
            tracked.report,
            require_permission,
        )
        described = describe_outcome(outcome)
        tracked.finish(described)
    return described


def describe_outcome(outcome: Outcome) -> dict[str, Any]:
    """As plain values, for the ledger."""
    if isinstance(outcome, Measured):
        return {"state": "measured", "metrics": dict(outcome.metrics)}
    if isinstance(outcome, Rejected):
        return {
            "state": "rejected",
            "reason": "; ".join(outcome.verdict.reasons),
            "metrics": dict(outcome.metrics),
            "verdict": outcome.verdict.model_dump(),
        }
    return describe_published(outcome)


if __name__ == "__main__":
    main()
