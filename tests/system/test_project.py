"""A user's project: served by ``modelyard up``, edited while that runs, and trained again without a restart.

Its home is a folder of any name, its gateway is killed while its first model trains, and Ctrl-C ends all of it at last.
"""

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.http import http
from tests.support.programs import run_command
from tests.support.project import BROKEN, LINE, make_project
from tests.support.waiting import wait_until
from tests.system.conftest import FINISHED_S, READY_S, System

pytestmark = pytest.mark.long
HOME = 'a b\'s "home" 100%41 #1 @x,?é'
"""Every character that means something to a shell, a URL or a configuration file."""
LONG = {"epochs": 20, "batch_size": 4}
"""A job that is not over when a worker that stops has waited for it."""
BEGUN = re.compile(r"line: (running|data|rehearse|train)")
"""What is printed of a job that has begun: short states may pass between two looks."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A model, a helper, and a file that is no Python."""
    root = tmp_path_factory.mktemp("project")
    models = make_project(root / "shop")
    (models / "broken.py").write_text(BROKEN)
    (root / HOME).mkdir()
    running = System(root / HOME, folder=root / "shop")
    killing = threading.Thread(target=kill_gateway_while_it_trains, args=(running,))
    killing.start()
    running.start()
    yield running
    killing.join()
    assert running.stop() == []


def kill_gateway_while_it_trains(system: System) -> None:
    out = system.home.parent / f"{system.home.name}.out"
    wait_until(lambda: out.exists() and BEGUN.search(system.printed), READY_S, "the training")
    gateway = system.find("modelyard.services.gateway")
    assert gateway
    gateway.kill()


def train(forks: ForkServer, project: System, model: str) -> subprocess.CompletedProcess[bytes]:
    return run_command(forks, "train", model, "--wait", "--url", project.url, timeout_s=FINISHED_S)


def predict(project: System, x: float) -> float:
    response = http.post(f"{project.url}/v1/models/line:predict", json={"instances": [[x]]})
    value: float = response.json()["predictions"][0]["value"][0]
    return value


def models_of(project: System) -> Path:
    assert project.folder
    return project.folder / "models"


def test_up_goes_on_when_its_gateway_is_killed_while_it_trains(project: System, forks: ForkServer) -> None:
    """It is started again, and commands find the folder by their environment."""
    assert "gateway ended with status -9; restarting it" in project.printed
    answer = http.post(f"{project.url}/v1/models/line:predict", json={"instances": [[1.0]]})
    assert answer.status_code == 200, answer.text
    assert "key" in modelyard(forks, project, "keys", "list")
    assert str(project.home) in modelyard(forks, project, "migrate")
    assert not (project.home.parent / ".modelyard").exists()


def modelyard(forks: ForkServer, system: System, *arguments: str) -> str:
    """What a command prints that knows the folder from its environment, in another one."""
    known = {"MODELYARD_HOME": str(system.home)}
    done = run_command(forks, *arguments, timeout_s=FINISHED_S, folder=system.home.parent, **known)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_a_project_is_served_and_what_is_broken_is_said(project: System, forks: ForkServer) -> None:
    """By its file and line, in what is printed and in the list; the zoo is not there."""
    assert "left out: models/broken.py:2: SyntaxError: '(' was never closed" in project.printed
    listed = project.get("/api/models")
    assert [entry["name"] for entry in listed["models"]] == listed["trainable"] == ["line"]
    assert listed["broken"] == [{"name": "broken", "error": "models/broken.py:2: SyntaxError: '(' was never closed"}]
    assert predict(project, 1.0) == pytest.approx(2.0, abs=0.2)
    refused = train(forks, project, "broken")
    assert refused.stderr.decode().strip() == "error: models/broken.py:2: SyntaxError: '(' was never closed"


def test_an_edit_is_trained_without_a_restart(project: System, forks: ForkServer) -> None:
    """Of a helper that the model imports while it runs."""
    helper = models_of(project) / "features.py"
    helper.write_text(helper.read_text().replace("SLOPE = 2.0", "SLOPE = 3.0"))
    trained = train(forks, project, "line")
    assert b"line version 2" in trained.stdout, trained.stderr
    wait_until(lambda: predict(project, 1.0) == pytest.approx(3.0, abs=0.2), what="the new version")


def test_files_that_come_are_mended_or_go_are_known(project: System, forks: ForkServer) -> None:
    """A new one, the broken one, and one that is deleted; then the doctor finds nothing bad."""
    models = models_of(project)
    (models / "new.py").write_text(LINE)
    (models / "broken.py").write_text(LINE)
    wait_until(lambda: project.get("/api/models")["trainable"] == ["broken", "line", "new"], what="three models")
    assert project.get("/api/models")["broken"] == []
    (models / "broken.py").unlink()
    wait_until(lambda: project.get("/api/models")["trainable"] == ["line", "new"], what="two models")
    assert b"did you mean" in train(forks, project, "lines").stderr
    assert train(forks, project, "new").returncode == 0
    assert re.search(r"line version \d is complete", modelyard(forks, project, "doctor", "--url", project.url))


def test_ctrl_c_during_a_job_leaves_nothing_behind_and_the_next_start_finishes_it(project: System) -> None:
    """No process and no open port is left; the job was not lost; versions are found, not trained again."""
    store, model = Store(project.home / "store"), "line"
    versions, before = store.versions(model), list_jobs(project)
    job = project.submit(model=model, overrides=LONG, rollout="manual").json()
    wait_until(lambda: project.get(f"/api/jobs/{job['id']}")["stage"] == "train", FINISHED_S, "training")
    assert project.stop() == []
    for port in (project.port, project.serving_port):
        with pytest.raises(httpx.ConnectError):
            http.get(f"http://127.0.0.1:{port}/")
    project.start()
    assert list_jobs(project) == [job["id"], *before]
    ended = project.finished(job["id"])
    assert (ended["state"], ended["attempts"]) in (("succeeded", 2), ("rejected", 2))
    assert store.versions(model) in (versions, (*versions, ended["result"].get("version")))


def list_jobs(system: System) -> list[str]:
    """Ids of all, the newest first."""
    return [job["id"] for job in system.get("/api/jobs")["jobs"]]
