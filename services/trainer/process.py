"""The parent's side of a training process: starts it, reads its messages, and ends it with all that it started.

Parent and child exchange lines: the job goes in on standard input as JSON, and after it commands; progress, requests
and the outcome come back on standard output as JSON. Standard input stays open as long as the parent lives.
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
from functools import partial
from pathlib import Path
from typing import Any, Self

import orjson
import structlog

from modelyard.models.backend import DEFAULT, parse_backend
from modelyard.models.catalog import Catalog, read_catalog
from modelyard.models.errors import ModelyardError
from modelyard.models.registry.store import STAGING
from modelyard.models.types import Backend
from modelyard.pipeline.processes.forkserver import ForkedProcess, ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.services.ledger import Job, Ledger
from modelyard.services.trainer.feedback_file import write_feedback
from modelyard.services.trainer.job_log import JobLog
from modelyard.services.trainer.settings import TrainerSettings

log = structlog.get_logger()

CHILD = "modelyard.services.trainer.child"
TITLE = "training"
"""A child's name in lists of processes."""
FORKED = "forked"
"""Says to a child that it is a fork."""
CANCEL, PUBLISH = b"cancel\n", b"publish\n"
"""Commands to a child: end soon; and the permission to publish, when it requests one."""
GRACE_S = 2.0
"""Seconds before each harder way to end a child."""
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
"""Environment of a child: warnings only; GPU memory as it is needed, not all at once, in TensorFlow and in JAX."""
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
"""Environment of a child without GPU; JAX's wheel for GPUs complains if it finds none."""


class ChildFailed(Exception):
    """The child ended without an outcome; the text has the cause."""


class ChildKilled(ChildFailed):
    """A signal ended the child: sent from outside, out of memory, or a fault in native code. A retry may succeed."""


class TrainingProcess:
    """One job in a process group of its own. A context manager: afterwards no process and no folder of it is left."""

    def __init__(self, job: Job, settings: TrainerSettings, ledger: Ledger, forks: ForkServer) -> None:
        """The output of the process group goes into the ledger's log of the job, every second.

        Raises:
            StorageFailed: the job uses feedback and the ledger cannot be reached.
        """
        self._settings = settings
        self._name = f"{job.id}.{job.attempts}"
        self._write_lock = threading.Lock()
        feedback = self._write_feedback(job, ledger) if job.with_feedback else None
        request = make_request(job, self._name, settings, feedback)
        self._process = start(forks, request["backend"], gpus=settings.gpu_count())
        assert self._process.stderr
        self._log = JobLog(self._process.stderr, partial(ledger.logs.write, job.id))
        self._send(orjson.dumps(request) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGKILL)  # whatever is left of the group
        self._process.wait()
        self._log.close()
        for stream in (self._process.stdin, self._process.stdout):
            with self._write_lock, suppress(OSError):
                if stream:
                    stream.close()
        remove_folders(self._settings, self._name)

    def await_outcome(self, on_progress: Callable[[Progress], None], may_publish: Callable[[], bool]) -> dict[str, Any]:
        """Reads messages until the child has ended. Returns its outcome as plain values.

        Raises:
            ModelyardError: the job failed for a known reason, which is the text.
            ChildKilled: a signal ended the child.
            ChildFailed: it ended by an unexpected exception, or was stopped.
        """
        outcome: dict[str, Any] = {}
        assert self._process.stdout
        for line in self._process.stdout:
            message = orjson.loads(line)
            if "progress" in message:
                on_progress(Progress(**message["progress"]))
            elif "request" in message:
                self._send(PUBLISH if may_publish() else CANCEL)
            else:
                outcome = message
        returncode = self._process.wait()
        if "error" in outcome:
            raise ModelyardError(outcome["error"])
        if not outcome:
            raise make_exit_error(returncode)
        return outcome

    def stop(self) -> None:
        """Ends the child: by a command, then SIGTERM, then SIGKILL to its group."""
        self._send(CANCEL)
        for harder in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._signal(harder)

    def _write_feedback(self, job: Job, ledger: Ledger) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{self._name}-feedback-", dir=self._settings.work_dir))
        return write_feedback(job, ledger, self._settings, folder)

    def _send(self, line: bytes) -> None:
        with self._write_lock, suppress(BrokenPipeError, ValueError):  # it has ended, or was closed
            assert self._process.stdin
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            if self._process.pid is not None:
                os.killpg(self._process.pid, number)


def start(forks: ForkServer, wanted: Backend, gpus: int) -> subprocess.Popen[bytes] | ForkedProcess:
    """A child that leads a process group: a fork that has Keras if that computes as wanted, else a new one."""
    if wanted == DEFAULT and not gpus:
        try:
            return forks.start(CHILD, FORKED, own_group=True)
        except OSError as error:
            log.warning("training starts without the fork server", cause=str(error))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | ENVIRONMENT | ({} if gpus else WITHOUT_GPU),
        start_new_session=True,
    )


def make_request(job: Job, name: str, settings: TrainerSettings, feedback: Path | None) -> Mapping[str, Any]:
    """The job, its backend and its locations, as values for JSON."""
    catalog = read_catalog(settings.store)
    return {
        "run": {
            "model": job.model,
            "recipe": job.recipe,
            "overrides": dict(job.overrides),
            "data": job.data,
            "rollout": job.rollout,
            "by": f"job {job.id} of {job.by}",
            "job": job.id,
            "attempt": job.attempts,
            "name": name,
            "feedback": str(feedback) if feedback else None,
        },
        "backend": choose_backend(job, catalog),
        "tracking": {
            "events": str(settings.events(job.model, job.id)) if settings.tensorboard_runs else None,
            "mlflow": settings.mlflow_url,
            "params": list_params(job, catalog),
        },
        "locations": {
            "store": str(settings.store),
            "store_url": settings.store_url,
            "data": str(settings.data_dir),
            "work": str(settings.work_dir),
            "serving": settings.serving,
            "named_pools": dict(settings.serving_pools),
            "pool_memory": dict(settings.pool_memory),
            "tls": settings.serving_files and settings.serving_files.texts,
            "models": [str(folder) for folder in settings.sources().folders],
        },
    }


def choose_backend(job: Job, catalog: Catalog | None) -> Backend:
    """The backend of the job's recipe; the default for a recipe not in the catalog, which the child then refuses."""
    trainable = catalog.trainable.get(job.model) if catalog else None
    return parse_backend(trainable.recipe_value(job.recipe, job.overrides, "backend") if trainable else None)


def list_params(job: Job, catalog: Catalog | None) -> dict[str, Any]:
    """Values of the job's recipe, with its overrides."""
    trainable = catalog.trainable.get(job.model) if catalog else None
    recipe = trainable.recipes.get(job.recipe, {}) if trainable else {}
    return {name: found.default for name, found in recipe.items()} | dict(job.overrides)


def remove_folders(settings: TrainerSettings, name: str) -> None:
    """Removes the temporary folders of an attempt, or of all attempts that the pattern ``name`` matches."""
    for root, prefix in ((settings.work_dir, ""), (settings.store, f"*/{STAGING}")):
        for folder in root.glob(f"{prefix}{name}-*"):
            shutil.rmtree(folder, ignore_errors=True)


def make_exit_error(returncode: int) -> ChildFailed:
    if returncode < 0:
        name = signal.Signals(-returncode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return ChildKilled(f"the training process was ended by {name}{hint}")
    text = f"the training process ended unexpectedly with exit status {returncode}; its log has the traceback"
    return ChildFailed(text)
