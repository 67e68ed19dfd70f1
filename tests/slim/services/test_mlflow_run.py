"""Jobs as runs of MLflow: into a real store of it, and what happens where there is none."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from modelyard.pipeline.job import Cancelled
from modelyard.pipeline.progress import Progress
from modelyard.services.settings import InvalidSettings
from modelyard.services.trainer.mlflow_run import track_job
from modelyard.services.trainer.settings import TrainerSettings
from modelyard.services.trainer.worker import require_mlflow
from tests.support.ports import free_port

JOB = {"job": "job-0001", "model": "neuron", "recipe": "quick", "by": "job job-0001 of a test"}
PARAMS = {"epochs": 2, "learning_rate": 0.1}
VERDICT = {"accepted": True, "reasons": ["r2 0.99 reaches the floor 0.90"]}
EPOCH = Progress("train", epoch=1, epochs=2, step=5, steps=5, metrics={"loss": 0.5, "val_loss": 0.6}, learning_rate=0.1)
installed = pytest.mark.skipif(find_spec("mlflow") is None, reason="needs the extra mlflow")


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of MLflow in a folder."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file://{tmp_path / 'mlruns'}"


def find_runs(url: str) -> list[Any]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=url)
    experiment = client.get_experiment_by_name("neuron")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def fail_job(url: str, error: Exception) -> None:
    with track_job(url, JOB, PARAMS, lambda _: None) as tracked:
        tracked.report(EPOCH)
        raise error


@installed
def test_a_job_is_a_run_with_recipe_metrics_version_and_verdict(url: str) -> None:
    said: list[Progress] = []
    with track_job(url, JOB, PARAMS, said.append) as tracked:
        tracked.report(EPOCH)
        tracked.report(Progress("gate", metrics={"r2": 0.99}))
        tracked.finish({"state": "published", "version": 7, "verdict": VERDICT})
    (run,) = find_runs(url)
    assert (run.info.run_name, run.info.status) == ("job-0001", "FINISHED")
    assert run.data.params == {"epochs": "2", "learning_rate": "0.1"}
    assert run.data.metrics == {"loss": 0.5, "val_loss": 0.6, "learning_rate": 0.1, "test_r2": 0.99}
    assert (run.data.tags["modelyard.version"], run.data.tags["modelyard.verdict"]) == ("7", "accepted")
    assert "reaches the floor" in run.data.tags["modelyard.reasons"]
    assert len(said) == 2


@installed
@pytest.mark.parametrize(("error", "status"), [(Cancelled(), "KILLED"), (RuntimeError("no"), "FAILED")])
def test_a_job_that_ends_early_ends_its_run_and_a_later_attempt_goes_on_with_it(
    url: str, error: Exception, status: str
) -> None:
    """One job, one run, however often it is started."""
    with pytest.raises(type(error)):
        fail_job(url, error)
    assert [run.info.status for run in find_runs(url)] == [status]
    with track_job(url, JOB, PARAMS, lambda _: None) as tracked:
        tracked.finish({"state": "measured"})
    assert [run.info.status for run in find_runs(url)] == ["FINISHED"]


@installed
def test_a_server_that_cannot_be_reached_costs_a_warning_and_no_job(capsys: pytest.CaptureFixture[str]) -> None:
    """Once, without the password; the reports go on."""
    said: list[Progress] = []
    address = f"http://me:s3cret-word@127.0.0.1:{free_port()}"
    with track_job(address, JOB, PARAMS, said.append) as tracked:
        tracked.report(EPOCH)
        tracked.report(EPOCH)
        tracked.finish({"state": "measured"})
    warned = capsys.readouterr().err
    assert warned.count("warning: MLflow has not all of this job") == 1
    assert "s3cret-word" not in warned
    assert len(said) == 2


def test_without_a_url_there_is_no_run() -> None:
    said: list[Progress] = []
    with track_job(None, JOB, PARAMS, said.append) as tracked:
        tracked.report(EPOCH)
        tracked.finish({"state": "measured"})
    assert said == [EPOCH]


@pytest.mark.skipif(find_spec("mlflow") is not None, reason="is about its absence")
def test_a_worker_whose_mlflow_is_missing_does_not_start() -> None:
    """With what to install; without the setting nothing is missing."""
    require_mlflow(TrainerSettings.load())
    with pytest.raises(InvalidSettings, match=r"pip install 'modelyard\[mlflow\]'"):
        require_mlflow(TrainerSettings.load(mlflow_url="http://127.0.0.1:5000"))


def test_the_address_is_logged_without_its_password() -> None:
    shown = TrainerSettings.load(mlflow_url="https://me:s3cret-word@mlflow.example").mask_secrets()["mlflow_url"]
    assert shown == "https://me:***@mlflow.example"
