"""A job as a run of MLflow: recipe, metrics by epoch, evaluation, version and verdict. For the training process.

MLflow is never needed. If its server cannot be reached, the job's log says so once, and the job goes on.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from modelyard.pipeline.job import Cancelled
from modelyard.pipeline.progress import Progress, Report
from modelyard.services.settings import mask_password

TIMEOUT_S = "5"
JOB = "modelyard.job"
"""Tag by which a later attempt of the job finds its run."""
FILE_SCHEME = "file:"
VALUE_CHARS = 500
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": TIMEOUT_S,
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Of MLflow's client, unless it is set: it would wait for minutes, and report its use to its makers."""


class TrackedJob:
    """What the job's progress and outcome are given to."""

    def __init__(self, report: Report, run: "_MlflowRun | None") -> None:
        self._report, self._run = report, run

    def report(self, progress: Progress) -> None:
        if self._run:
            self._run.log_progress(progress)
        self._report(progress)

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Takes the outcome as plain values."""
        if self._run:
            self._run.finish(outcome)


@contextmanager
def track_job(
    url: str | None, job: Mapping[str, Any], params: Mapping[str, Any], report: Report
) -> Iterator[TrackedJob]:
    """A run for the time of the block; without a URL, none.

    Args:
        job: its id (``job``), ``model``, ``recipe`` and so on, as the child gets them.
        params: values of the recipe.
    """
    run = _MlflowRun(url, job, params) if url else None
    try:
        yield TrackedJob(report, run)
    except BaseException as error:
        if run:
            run.end("KILLED" if isinstance(error, (Cancelled, SystemExit)) else "FAILED")
        raise
    if run:
        run.end("FINISHED")


class _MlflowRun:
    """One run. Nothing is raised; after the first failure nothing is sent any more."""

    def __init__(self, url: str, job: Mapping[str, Any], params: Mapping[str, Any]) -> None:
        self._url, self._job = url, job
        self._client: Any = None
        self._id = ""
        self._failed = False
        self._epoch = 0
        self._send(lambda: self._open(params))

    def log_progress(self, progress: Progress) -> None:
        """Logs the end of an epoch, and what was measured on the test split."""
        if progress.stage == "train" and progress.epoch and progress.step == progress.steps:
            self._epoch = progress.epoch
            rate = {} if progress.learning_rate is None else {"learning_rate": progress.learning_rate}
            self._log({**progress.metrics, **rate})
        elif progress.stage == "gate" and progress.metrics:
            self._log({f"test_{name}": value for name, value in progress.metrics.items()})

    def finish(self, outcome: Mapping[str, Any]) -> None:
        """Tags the run with the version, and the verdict with its reasons."""
        verdict = outcome.get("verdict") or {}
        tags = {
            "modelyard.outcome": outcome["state"],
            "modelyard.version": outcome.get("version"),
            "modelyard.verdict": verdict and ("accepted" if verdict["accepted"] else "rejected"),
            "modelyard.reasons": "; ".join(verdict.get("reasons", ())),
        }
        given = {name: str(value) for name, value in tags.items() if value}
        self._send(lambda: [self._client.set_tag(self._id, name, value) for name, value in given.items()])

    def end(self, status: str) -> None:
        self._send(lambda: self._client.set_terminated(self._id, status))

    def _log(self, values: Mapping[str, float]) -> None:
        from time import time

        epoch, at = self._epoch, int(time() * 1000)

        def log() -> None:
            from mlflow.entities import Metric

            self._client.log_batch(self._id, metrics=[Metric(name, value, at, epoch) for name, value in values.items()])

        self._send(log)

    def _open(self, params: Mapping[str, Any]) -> None:
        """Creates the run, or goes on with that of an earlier attempt."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        if self._url.startswith(FILE_SCHEME):  # which MLflow does not want for new projects
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._url)
        experiment = self._find_experiment(self._job["model"])
        found = self._client.search_runs([experiment], filter_string=f"tags.`{JOB}` = '{self._job['job']}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {JOB: self._job["job"], "modelyard.by": self._job["by"], "modelyard.recipe": self._job["recipe"]}
        self._id = self._client.create_run(experiment, run_name=self._job["job"], tags=tags).info.run_id
        entries = [Param(name, str(value)[:VALUE_CHARS]) for name, value in params.items()]
        self._client.log_batch(self._id, params=entries)

    def _find_experiment(self, name: str) -> str:
        """The id of the model's experiment, which is made if it is missing."""
        from mlflow.exceptions import MlflowException

        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another job made it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _send(self, call: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            call()
        except Exception as error:  # noqa: BLE001  # the boundary to a library of another's servers: no job fails by it
            self._failed = True
            cause = mask_password(" ".join(str(error).split()))[:VALUE_CHARS]
            sys.stderr.write(f"warning: MLflow has not all of this job: {type(error).__name__}: {cause}\n")
            sys.stderr.flush()
