"""The examples are as short as they are said to be, and train as they stand."""

import runpy
import shutil
from pathlib import Path

import pytest

from modelyard.models.sources.files import Sources
from modelyard.pipeline.check import check_model
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.run import run_job
from tests.support.fitting import ignore

EXAMPLES = Path(__file__).parents[3] / "examples"
SHORT = ("wine", "pictures", "reviews")
WITH_NETWORK = ("wine_network", "pictures_network")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder, with its data; fewer pictures, for the tests' sake."""
    folder = tmp_path_factory.mktemp("project") / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("data", ".modelyard"))
    made = runpy.run_path(str(folder / "make_data.py"))
    (folder / "data").mkdir()
    made["write_wines"](folder / "data" / "wine.csv")
    made["write_reviews"](folder / "data" / "reviews.csv")
    made["write_pictures"](folder / "data" / "pictures", 80)
    return folder


def test_every_example_is_known() -> None:
    """With the lines that the README promises."""
    counts = {path.stem: len(path.read_text().splitlines()) for path in (EXAMPLES / "models").glob("*.py")}
    assert counts.keys() == {*SHORT, *WITH_NETWORK}
    assert max(counts[name] for name in SHORT) <= 12
    assert max(counts.values()) <= 25


def locate(project: Path) -> JobLocations:
    return JobLocations(project / "store", project, project / "work", (), Sources((project / "models",)))


@pytest.mark.parametrize(
    "name", ["wine", *(pytest.param(each, marks=pytest.mark.long) for each in ("reviews", *WITH_NETWORK))]
)
def test_an_example_is_sound(name: str, project: Path, forks: ForkServer) -> None:
    """One batch of it goes through build, loss, export and reload: what it trains to costs more."""
    checked = check_model(TrainingJob(name, "quick", {}, "auto", "manual", "a test"), locate(project), forks, ignore)
    assert checked.spec.summary
    assert checked.spec.baseline


@pytest.mark.parametrize(
    ("name", "epochs"), [("wine", 10), ("reviews", 1), ("pictures", 3), ("wine_network", 15), ("pictures_network", 12)]
)
@pytest.mark.long
def test_an_example_trains_and_passes_its_gate(name: str, epochs: int, project: Path, forks: ForkServer) -> None:
    """In few epochs, for the tests' sake."""
    job = TrainingJob(name, "quick", {"epochs": epochs}, "auto", "manual", "a test")
    outcome = run_job(job, locate(project), forks, lambda _: None)
    assert isinstance(outcome, Published)
    assert outcome.manifest.summary
    assert outcome.manifest.baseline
