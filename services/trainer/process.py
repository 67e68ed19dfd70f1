"""The parent's side of a training process: starts it, hears what it says, and ends it with all that it started.

Parent and child talk in JSON lines: the job goes in on standard input, and after it single words; progress, questions
and the outcome come back on standard output. Standard input stays open as long as the parent lives.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import orjson
import structlog

from modelyard.models import backend, catalog
from modelyard.models.catalog import Catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import STAGING
from modelyard.models.types import Backend
from modelyard.pipeline.forkserver import ForkedProcess, ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.services.ledger import Job
from modelyard.services.trainer import feedback_file
from modelyard.services.trainer.job_log import JobLog
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()

CHILD = "modelyard.services.trainer.child"
TITLE = "training"
"""A child's name in lists of processes."""
FORKED = "forked"
"""Says to a child that it is a fork."""
CANCEL, PUBLISH = b"cancel\n", b"publish\n"
"""What a child can be told: end soon; and, when it asks, that it may publish."""
GRACE_S = 2.0
"""Before each harder way to end a child."""
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Of a child: warnings only; GPU memory as it is needed, not all at once, in TensorFlow and in JAX."""
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
"""Of a child of a worker for the CPU; JAX's wheel for GPUs complains if it finds none."""


class ChildFailed(Exception):
    """The child ended without an outcome; the text says how."""


class ChildKilled(ChildFailed):
    """A signal ended it: from outside, for want of memory, or by a fault in native code. Another attempt may do."""


class TrainingProcess:
    """One job in a process group of its own. A context: nothing of it lives on, or lies about, after the block."""

    def __init__(self, job: Job, settings: TrainerSettings, forks: ForkServer, keep_log: Callable[[str], None]) -> None:
        """``keep_log`` takes what the child and its own write, every second.

        Raises:
            StorageFailed: feedback was asked for and cannot be had.
        """
        self._settings = settings
        self._name = f"{job.id}.{job.attempts}"
        self._telling = threading.Lock()
        feedback = self._feedback(job) if job.with_feedback else None
        request = told(job, self._name, settings, feedback)
        self._process = start(forks, request["backend"], gpus=settings.gpu_count())
        assert self._process.stderr
        self._log = JobLog(self._process.stderr, keep_log)
        self._tell(orjson.dumps(request) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)  # whatever is left of the group
        self._process.wait()
        self._log.close()
        for stream in (self._process.stdin, self._process.stdout):
            with self._telling, suppress(OSError):
                if stream:
                    stream.close()
        clear(self._settings, self._name)

    def outcome(self, on_progress: Callable[[Progress], None], may_publish: Callable[[], bool]) -> dict[str, Any]:
        """Listens until the child has ended; its outcome as plain values.

        Raises:
            ModelyardError: the job failed for a known reason, which is the text.
            ChildKilled: a signal ended the child.
            ChildFailed: it ended by an exception that nobody expected, or was told to end.
        """
        outcome: dict[str, Any] = {}
        assert self._process.stdout
        for line in self._process.stdout:
            said = orjson.loads(line)
            if "progress" in said:
                on_progress(Progress(**said["progress"]))
            elif "asks" in said:
                self._tell(PUBLISH if may_publish() else CANCEL)
            else:
                outcome = said
        returncode = self._process.wait()
        if "error" in outcome:
            raise ModelyardError(outcome["error"])
        if not outcome:
            raise death_of(returncode)
        return outcome

    def stop(self) -> None:
        """Asks the child to end, then tells its group, then ends it, until it has ended."""
        self._tell(CANCEL)
        for harder in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._signal(harder)

    def _feedback(self, job: Job) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{self._name}-feedback-", dir=self._settings.work_dir))
        return feedback_file.write(job, self._settings, folder)

    def _tell(self, line: bytes) -> None:
        with self._telling, suppress(BrokenPipeError, ValueError):  # it has ended, or been closed: it need not know
            assert self._process.stdin
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self._process.pid is not None:
                os.killpg(self._process.pid, number)


def start(forks: ForkServer, wanted: Backend, gpus: int) -> subprocess.Popen[bytes] | ForkedProcess:
    """A child that leads a process group: a fork that has Keras if that computes as wanted, else a new one."""
    if wanted == backend.DEFAULT and not gpus:
        try:
            return forks.start(CHILD, FORKED, own_group=True)
        except OSError as error:
            log.warning("training starts without the fork server", cause=str(error))
    return subprocess.Popen(
        [sys.executable, "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | ENVIRONMENT | ({} if gpus else WITHOUT_GPU),
        start_new_session=True,
    )


def told(job: Job, name: str, settings: TrainerSettings, feedback: Path | None) -> Mapping[str, Any]:
    """What the child needs to know, as JSON."""
    return {
        "run": {
            "model": job.model,
            "recipe": job.recipe,
            "overrides": dict(job.overrides),
            "data": job.data,
            "rollout": job.rollout,
            "by": f"job {job.id} of {job.by}",
            "job": job.id,
            "name": name,
            "feedback": str(feedback) if feedback else None,
        },
        "backend": backend_of(job, catalog.read(settings.store)),
        "place": {
            "store": str(settings.store),
            "data": str(settings.data_dir),
            "work": str(settings.work_dir),
            "serving": settings.serving,
        },
    }


def backend_of(job: Job, known: Catalog | None) -> Backend:
    """What the job's recipe is to be trained with; of one that nobody announced, the child says what is wrong."""
    trainable = known.trainable.get(job.model) if known else None
    return backend.known(trainable.value(job.recipe, job.overrides, "backend") if trainable else None)


def clear(settings: TrainerSettings, name: str) -> None:
    """Removes the temporary folders of an attempt, or of all that ``name`` matches."""
    for root, prefix in ((settings.work_dir, ""), (settings.store, f"*/{STAGING}")):
        for left in root.glob(f"{prefix}{name}-*"):
            shutil.rmtree(left, ignore_errors=True)


def death_of(returncode: int) -> ChildFailed:
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return ChildKilled(f"the training process was ended by {name}{hint}")
    text = f"the training process ended unexpectedly with exit status {returncode}; its log has the traceback"
    return ChildFailed(text)
