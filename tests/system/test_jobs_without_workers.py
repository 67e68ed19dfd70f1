"""A job that no trainer can take: accepted, and said by every command that shows it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from modelyard.services.cli.commands.local.doctor import check_gateway
from modelyard.services.queues import NO_TRAINER
from tests.system.test_job_api import JobApi, open_api


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobApi]:
    with open_api(tmp_path_factory.mktemp("api")) as found, found.redis():
        yield found


def modelyard(api: JobApi, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", *arguments, "--url", str(api.http.base_url)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_a_job_without_any_trainer_is_accepted_and_says_so(api: JobApi) -> None:
    """In the answer itself, also to a retry and to whoever lists and shows it."""
    answer = api.submit()
    job = answer.json()
    assert (answer.status_code, job["state"], job["waits_for"]) == (202, "queued", NO_TRAINER)
    assert api.http.post(f"/api/jobs/{job['id']}:cancel").json()["waits_for"] is None
    again = api.http.post(f"/api/jobs/{job['id']}:retry")
    assert (again.status_code, again.json()["waits_for"]) == (202, NO_TRAINER)
    shown = modelyard(api, "jobs", "show", again.json()["id"])
    assert (shown.returncode, shown.stderr) == (0, f"waits: {NO_TRAINER}\n")
    assert NO_TRAINER in modelyard(api, "jobs").stdout


def test_a_command_that_submits_says_what_its_job_waits_for(api: JobApi) -> None:
    """On standard error: the job is accepted, so the exit status is 0."""
    trained = modelyard(api, "train", "neuron")
    assert (trained.returncode, trained.stderr) == (0, f"waits: {NO_TRAINER}\n")
    assert trained.stdout.startswith("job-")


def test_the_doctor_names_the_missing_trainer(api: JobApi) -> None:
    """As something bad: with the way out."""
    api.submit()
    (finding,) = [found for found in check_gateway(str(api.http.base_url)) if NO_TRAINER in found.message]
    assert (finding.level, "modelyard up" in finding.remedy) == ("bad", True)
