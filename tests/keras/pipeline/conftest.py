"""Jobs and trainings that several files look at: each is run once. Whoever changes a store takes a copy."""

import shutil
from pathlib import Path

import pytest

from modelyard.pipeline.event_files import record_events
from modelyard.pipeline.job import JobLocations, Published, Rejected, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.results import TrainedModel
from modelyard.pipeline.run import run_job
from tests.support.fitting import fit_reviews
from tests.support.rehearsals import share_rehearsals


def locations(root: Path) -> JobLocations:
    return JobLocations(root / "store", root / "data", share_rehearsals(root / "work"), ())


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, forks: ForkServer) -> tuple[Path, Published, list[Progress]]:
    """A version of ``neuron`` by ``quick``, and the progress that was reported meanwhile."""
    root, said = tmp_path_factory.mktemp("published"), list[Progress]()
    job = TrainingJob("neuron", "quick", {}, "auto", "stable", "a test")
    outcome = run_job(job, locations(root), forks, said.append)
    assert isinstance(outcome, Published)
    return root, outcome, said


@pytest.fixture(scope="session")
def rejected(
    tmp_path_factory: pytest.TempPathFactory, published: tuple[Path, Published, list[Progress]], forks: ForkServer
) -> tuple[Path, Rejected]:
    """A job that learns too slowly, beside that version; its event files are in ``events``."""
    root = tmp_path_factory.mktemp("rejected")
    shutil.copytree(published[0] / "store", root / "store")
    overrides = {"epochs": 3, "learning_rate": 1e-6}
    job = TrainingJob("neuron", "quick", overrides, "auto", "stable", "a test", job="job-0002", name="job-0002.1")
    with record_events(root / "events", lambda _: None) as report:
        outcome = run_job(job, locations(root), forks, report)
    assert isinstance(outcome, Rejected)
    return root, outcome


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """The reviews' model, small, that began with random weights."""
    return fit_reviews(tmp_path_factory.mktemp("reviews"))
