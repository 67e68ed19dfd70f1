"""A job that no trainer can take: accepted, and said by every command that shows it."""

import subprocess
from collections.abc import Iterator

import pytest

from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.cli.commands.local.doctor import check_gateway
from modelyard.services.queues import NO_TRAINER
from tests.support.job_api import JobApi, open_api
from tests.support.processes import WAIT_S
from tests.support.programs import run_command


@pytest.fixture(scope="module")
def api(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    with open_api(forks, tmp_path_factory.mktemp("api")) as found, found.redis():
        yield found


def modelyard(forks: ForkServer, api: JobApi, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return run_command(forks, *arguments, "--url", str(api.http.base_url), timeout_s=WAIT_S)


def test_a_job_without_any_trainer_is_accepted_and_says_so(api: JobApi, forks: ForkServer) -> None:
    """In the answer itself, also to a retry and to whoever lists and shows it."""
    answer = api.submit()
    job = answer.json()
    assert (answer.status_code, job["state"], job["waits_for"]) == (202, "queued", NO_TRAINER)
    assert api.http.post(f"/api/jobs/{job['id']}:cancel").json()["waits_for"] is None
    again = api.http.post(f"/api/jobs/{job['id']}:retry")
    assert (again.status_code, again.json()["waits_for"]) == (202, NO_TRAINER)
    shown = modelyard(forks, api, "jobs", "show", again.json()["id"])
    assert (shown.returncode, shown.stderr) == (0, f"waits: {NO_TRAINER}\n".encode())
    assert NO_TRAINER.encode() in modelyard(forks, api, "jobs").stdout


def test_a_command_that_submits_says_what_its_job_waits_for(api: JobApi, forks: ForkServer) -> None:
    """On standard error: the job is accepted, so the exit status is 0."""
    trained = modelyard(forks, api, "train", "neuron")
    assert (trained.returncode, trained.stderr) == (0, f"waits: {NO_TRAINER}\n".encode())
    assert trained.stdout.startswith(b"job-")


def test_the_doctor_names_the_missing_trainer(api: JobApi) -> None:
    """As something bad: with the way out."""
    api.submit()
    (finding,) = [found for found in check_gateway(str(api.http.base_url)) if NO_TRAINER in found.message]
    assert (finding.level, "modelyard up" in finding.remedy) == ("bad", True)
