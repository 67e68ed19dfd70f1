"""Where a version errs can be read, and where a rejected one erred."""

import os
from pathlib import Path

import orjson
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import evaluations
from modelyard.models.registry.store import Store
from modelyard.pipeline.results import CalibrationBin, Evaluation, Mistake
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Job, Ledger, State
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, publish
from tests.support.jobs import accept, claim

EVALUATION = Evaluation(
    metrics={"accuracy": 0.9},
    examples=10,
    per_class={"yes": {"precision": 1.0, "recall": 0.5, "support": 4.0}},
    confusion=[[6, 0], [1, 3]],
    calibration=(CalibrationBin(confidence=0.8, accuracy=0.9, examples=10),),
    mistakes=(Mistake(example=3, expected="yes", received="no", score=0.97, input={"age": 41}),),
    golden_difference=1e-7,
)


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str, ledger: Ledger) -> GatewaySettings:
    ledger.prepare()
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def write_evaluation(staged: Path) -> None:
    (staged / evaluations.FILE).write_text(EVALUATION.model_dump_json(exclude={"reference"}))


def end(ledger: Ledger, state: State, **result: object) -> Job:
    job = claim(ledger, accept(ledger, HALF_PLUS))
    if state is State.SUCCEEDED:
        assert ledger.jobs.begin_publishing(job)
    assert ledger.jobs.finish(job, state, result)
    return job


def test_a_versions_evaluation_has_all_that_is_known(client: FlaskClient, filled: Store) -> None:
    """With its labels, which name the rows of the confusion."""
    version = publish(filled, DIGITS, prepare=write_evaluation)
    found = client.get(f"/api/models/{DIGITS}/versions/{version}/evaluation").json
    assert found["labels"] == list(filled.manifest(DIGITS, version).labels)
    assert found["mistakes"] == [
        {"example": 3, "expected": "yes", "received": "no", "score": 0.97, "input": {"age": 41}}
    ]
    assert (found["confusion"], found["metrics"]) == ([[6, 0], [1, 3]], {"accuracy": 0.9})
    assert found["calibration"] == [{"confidence": 0.8, "accuracy": 0.9, "examples": 10}]


def test_what_there_is_no_evaluation_of_is_404(client: FlaskClient, filled: Store) -> None:
    """A version without the file, no such version, no such model."""
    version = publish(filled, DIGITS)
    for path in (f"{DIGITS}/versions/{version}", f"{DIGITS}/versions/99", "nothing_here/versions/1"):
        assert client.get(f"/api/models/{path}/evaluation").status_code == 404


def test_a_damaged_evaluation_is_said_to_be(client: FlaskClient, filled: Store) -> None:
    """Not an empty one."""
    version = publish(filled, DIGITS, prepare=lambda staged: (staged / evaluations.FILE).write_bytes(b'{"metrics": 1'))
    answer = client.get(f"/api/models/{DIGITS}/versions/{version}/evaluation")
    assert answer.status_code == 500
    assert "the evaluation is damaged" in answer.json["error"]


def test_a_rejected_jobs_evaluation_is_kept(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """Its mistakes are wanted most; a job's version has the version's."""
    job = end(ledger, State.REJECTED, reason="accuracy 0.9 is below the floor", metrics={"accuracy": 0.9})
    content = EVALUATION.model_dump(exclude={"reference"}) | {"labels": ("no", "yes")}
    evaluations.keep_rejected(filled, HALF_PLUS, job.id, orjson.dumps(content))
    found = client.get(f"/api/jobs/{job.id}/evaluation").json
    assert (found["labels"], found["mistakes"][0]["received"]) == (["no", "yes"], "no")
    version = publish(filled, HALF_PLUS, prepare=write_evaluation)
    published = end(ledger, State.SUCCEEDED, version=version, verdict={}, data={}, promotion={})
    again = client.get(f"/api/jobs/{published.id}/evaluation").json
    assert again.get("examples") == 10, again


def test_a_job_without_an_evaluation_says_why(client: FlaskClient, ledger: Ledger) -> None:
    """It failed, or its evaluation is not kept any more."""
    failed = client.get(f"/api/jobs/{end(ledger, State.FAILED, reason='x').id}/evaluation")
    assert (failed.status_code, "it is failed" in failed.json["error"]) == (404, True)
    rejected = client.get(f"/api/jobs/{end(ledger, State.REJECTED, reason='x').id}/evaluation")
    assert (rejected.status_code, "is kept" in rejected.json["error"]) == (404, True)


def test_the_oldest_evaluations_of_rejected_jobs_are_deleted(filled: Store) -> None:
    """A model that is rejected each night does not fill the disk."""
    for number in range(evaluations.MAX_REJECTED + 2):
        evaluations.keep_rejected(filled, DIGITS, f"job-{number}", b"{}")
        os.utime(filled.root / DIGITS / evaluations.REJECTED / f"job-{number}.json", (number, number))
    evaluations.keep_rejected(filled, DIGITS, "job-last", b"{}")
    kept = {path.stem for path in (filled.root / DIGITS / evaluations.REJECTED).iterdir()}
    assert len(kept) == evaluations.MAX_REJECTED
    assert "job-last" in kept
    assert "job-2" not in kept
