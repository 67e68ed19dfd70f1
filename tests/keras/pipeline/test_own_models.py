"""A job for a model of the user's: its file, its helpers, and what becomes of them meanwhile."""

import shutil
from pathlib import Path

import pytest

from modelyard.models.errors import InvalidSpec, UnknownName
from modelyard.models.registry.store import Store
from modelyard.models.sources.files import Sources
from modelyard.pipeline.job import JobLocations, Published, Rejected, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import run_job
from tests.support.project import BROKEN, make_project
from tests.support.rehearsals import SoundModels

OWN_METRICS = """    explain=False,
    evaluate=lambda predict, split: {"odd": float("nan"), "huge": float("inf"), "mine": 0.5},
    metrics={"odd": "lower", "huge": "higher", "mine": "higher"},
"""


def locations(root: Path) -> JobLocations:
    return JobLocations(root / "store", root / "data", root / "work", (), Sources((root / "shop" / "models",)))


def job(model: str) -> TrainingJob:
    return TrainingJob(model, "quick", {}, "auto", "stable", "a test")


def test_a_job_ends_with_the_sources_that_it_began_with(tmp_path: Path, forks: ForkServer) -> None:
    """Edited during the training, and gone before the export: neither changes what is published, nor its revision."""
    models = make_project(tmp_path / "shop")

    def report(progress: Progress) -> None:
        if progress.stage == "train" and progress.epoch:
            (models / "features.py").write_text("raise ValueError('not this one')\n")
            (models / "line.py").write_text(BROKEN)
        if progress.stage == "export" and models.exists():
            shutil.rmtree(models)

    found = run_job(job("line"), locations(tmp_path), forks, report)
    assert isinstance(found, Published)
    manifest = Store(tmp_path / "store").verify("line", 1)
    assert (manifest.summary, manifest.verdict.accepted) == ("Which number follows from x?", True)
    assert manifest.environment.code.startswith("sha256:")


@pytest.mark.parametrize(
    ("model", "error", "text"),
    [("broken", InvalidSpec, r"broken\.py:2: SyntaxError"), ("lime", UnknownName, "did you mean line")],
)
def test_a_model_that_cannot_be_loaded_fails_before_anything_begins(
    tmp_path: Path, forks: ForkServer, model: str, error: type[Exception], text: str
) -> None:
    """With its file and line; the zoo's models are not there either."""
    models = make_project(tmp_path / "shop")
    (models / "broken.py").write_text(BROKEN)
    with pytest.raises(error, match=text):
        run_job(job(model), locations(tmp_path), forks, lambda _: None)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("gate", "accepted", "reason"),
    [
        pytest.param('Gate("r2", floor=0.9)', True, "reaches the floor", marks=pytest.mark.long),
        ('Gate("odd", ceiling=1.0)', False, "odd is no finite number"),
        pytest.param('Gate("huge", floor=1.0)', False, "huge is no finite number", marks=pytest.mark.long),
    ],
)
def test_a_metric_that_is_no_finite_number_is_left_out_and_passes_no_gate(
    tmp_path: Path, forks: ForkServer, gate: str, *, accepted: bool, reason: str
) -> None:
    """Of the model's own: the job ends as its gate says, with the other metrics."""
    models = make_project(tmp_path / "shop")
    text = (models / "line.py").read_text().replace('Gate("r2", floor=0.9)', gate)
    text = text.replace("    explain=False,\n", OWN_METRICS)
    (models / "line.py").write_text(text)
    places = SoundModels(**vars(locations(tmp_path)))  # a rehearsal measures nothing
    found = run_job(job("line"), places, forks, lambda _: None)
    assert isinstance(found, Published if accepted else Rejected)
    verdict, metrics = (
        (found.manifest.verdict, found.manifest.metrics)
        if isinstance(found, Published)
        else (found.verdict, found.metrics)
    )
    assert reason in verdict.reasons[0]
    assert {"odd", "huge"}.isdisjoint(metrics)
    assert metrics["mine"] == 0.5
    assert (verdict.value is None) == (not accepted)
