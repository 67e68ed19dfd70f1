"""A user's project: served by ``modelyard up``, edited while that runs, and trained again without a restart."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.project import BROKEN, LINE, make_project
from tests.support.waiting import wait_until
from tests.system.conftest import FINISHED_S, System


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A model, a helper, and a file that is no Python."""
    folder = tmp_path_factory.mktemp("project") / "shop"
    models = make_project(folder)
    (models / "broken.py").write_text(BROKEN)
    running = System(folder / ".modelyard", folder=folder).start()
    yield running
    assert running.stop() == []


def train(project: System, model: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelyard", "train", model, "--wait", "--url", project.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=FINISHED_S, check=False)


def predict(project: System, x: float) -> float:
    response = httpx.post(f"{project.url}/v1/models/line:predict", json={"instances": [[x]]}, timeout=30)
    value: float = response.json()["predictions"][0]["value"][0]
    return value


def models_of(project: System) -> Path:
    assert project.folder
    return project.folder / "models"


def test_a_project_is_served_and_what_is_broken_is_said(project: System) -> None:
    """By its file and line, in what is printed and in the list; the zoo is not there."""
    assert "left out: models/broken.py:2: SyntaxError: '(' was never closed" in project.printed
    listed = project.get("/api/models")
    assert [entry["name"] for entry in listed["models"]] == listed["trainable"] == ["line"]
    assert listed["broken"] == [{"name": "broken", "error": "models/broken.py:2: SyntaxError: '(' was never closed"}]
    assert predict(project, 1.0) == pytest.approx(2.0, abs=0.2)
    refused = train(project, "broken")
    assert refused.stderr.strip() == "error: models/broken.py:2: SyntaxError: '(' was never closed"


def test_an_edit_is_trained_without_a_restart(project: System) -> None:
    """Of a helper that the model imports while it runs."""
    helper = models_of(project) / "features.py"
    helper.write_text(helper.read_text().replace("SLOPE = 2.0", "SLOPE = 3.0"))
    trained = train(project, "line")
    assert "line version 2" in trained.stdout, trained.stderr
    wait_until(lambda: predict(project, 1.0) == pytest.approx(3.0, abs=0.2), what="the new version")


def test_files_that_come_are_mended_or_go_are_known(project: System) -> None:
    """A new one, the broken one, and one that is deleted."""
    models = models_of(project)
    (models / "new.py").write_text(LINE)
    (models / "broken.py").write_text(LINE)
    wait_until(lambda: project.get("/api/models")["trainable"] == ["broken", "line", "new"], what="three models")
    assert project.get("/api/models")["broken"] == []
    (models / "broken.py").unlink()
    wait_until(lambda: project.get("/api/models")["trainable"] == ["line", "new"], what="two models")
    assert "did you mean" in train(project, "lines").stderr
    assert train(project, "new").returncode == 0
