"""Pages that show a job while it runs, at every stage of it, as its trainer reports them."""

from typing import get_args

import pytest
from flask.testing import FlaskClient

from modelyard.pipeline.progress import Progress, Stage
from modelyard.services.job_stages import AFTER_TRAINING
from modelyard.services.ledger import Job, Ledger, State
from modelyard.services.trainer.execute import ProgressRecorder
from tests.slim.gateway.console.conftest import MARKUP, add
from tests.support.fakes import HALF_PLUS
from tests.support.jobs import claim

pytestmark = pytest.mark.usefixtures("catalog")
WORKER = "w"


REPORTS = (
    *(Progress(stage, MARKUP) for stage in get_args(Stage)),
    Progress("train", epoch=1, epochs=2, step=1, steps=4),
    Progress("train", epoch=1, epochs=2, step=4, steps=4, eta_s=9.0, metrics={"loss": 0.5}),
    Progress("train", epoch=2, eta_s=0.0),
)


def finish_one(ledger: Ledger) -> None:
    """A job that went through, so that those after it are estimated."""
    job = claim(ledger, add(ledger), WORKER)
    record = ProgressRecorder(ledger, job)
    for report in REPORTS:
        record(report)
    ledger.jobs.begin_publishing(job)
    ledger.jobs.finish(job, State.SUCCEEDED, {"version": 1})


def read_pages(client: FlaskClient, job: Job) -> dict[str, str]:
    found = {}
    for path in ("/", "/queue", "/jobs", f"/jobs/{job.id}", f"/jobs/compare?id={job.id}", f"/models/{HALF_PLUS}"):
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, f"{path}: {answer.get_data(as_text=True)[:500]}"
        found[path] = answer.get_data(as_text=True)
    return found


@pytest.mark.parametrize("has_earlier", [False, True], ids=["first", "later"])
def test_every_page_shows_a_job_at_every_stage(client: FlaskClient, ledger: Ledger, has_earlier: bool) -> None:
    """Whether its time can be estimated or not; what a stage says is text."""
    if has_earlier:
        finish_one(ledger)
    ledger.workers.register(WORKER, ["train.cpu"])
    job = claim(ledger, add(ledger), WORKER)
    record = ProgressRecorder(ledger, job)
    for report in REPORTS:
        record(report)
        pages = read_pages(client, job)
        assert not any(MARKUP in page for page in pages.values())
        assert f'<span class="badge busy">{report.stage}</span>' in pages["/"]
        is_estimated = report.epoch is not None or (has_earlier and report.stage in AFTER_TRAINING)
        assert (" % · " in pages["/"]) == is_estimated, report
