"""A version's mistakes by kind, what uses it, and its files."""

from pathlib import Path

import orjson
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry import evaluations
from modelyard.models.registry.store import Store
from modelyard.pipeline.results import ConfusedPair, Evaluation, Mistake
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger, State
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, publish
from tests.support.jobs import accept, claim
from tests.support.versions import DEFAULTS

LABELS = ("cat", "dog", "<b>cow</b>")


def make_mistake(example: int, expected: object, received: object) -> Mistake:
    return Mistake(example=example, expected=expected, received=received, score=0.9, input=f"text {example}")


MISTAKES = (
    *(make_mistake(k, "cat", "dog") for k in range(5)),
    make_mistake(5, "dog", "<b>cow</b>"),
)
EVALUATION = Evaluation(
    metrics={"accuracy": 0.9},
    examples=100,
    per_class={"cat": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 16.0}},
    confused=(
        ConfusedPair(expected="cat", received="dog", count=8),
        ConfusedPair(expected="dog", received="<b>cow</b>", count=1),
    ),
    wrong=9,
    mistakes=MISTAKES[:2],
)
OLD = {
    "metrics": {"accuracy": 0.7},
    "examples": 10,
    "per_class": {"cat": {"precision": 1.0, "recall": 0.5, "support": 4.0}},
    "confusion": [[5, 2, 0], [0, 2, 1], [0, 0, 0]],
    "mistakes": [MISTAKES[0].model_dump(), MISTAKES[5].model_dump()],
    "golden_difference": 0.0,
}


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str, ledger: Ledger) -> GatewaySettings:
    ledger.prepare()
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


def write(staged: Path, lines: bytes | None = None, evaluation: bytes | None = None) -> None:
    content = b"".join(mistake.model_dump_json().encode() + b"\n" for mistake in MISTAKES) if lines is None else lines
    (staged / evaluations.MISTAKES_FILE).write_bytes(content)
    (staged / evaluations.FILE).write_bytes(evaluation or EVALUATION.model_dump_json(exclude={"reference"}).encode())


def publish_evaluated(store: Store, **options: bytes) -> str:
    version = publish(store, DIGITS, labels=LABELS, prepare=lambda staged: write(staged, **options))
    return f"/api/models/{DIGITS}/versions/{version}"


def test_the_mistakes_of_one_kind_are_found(client: FlaskClient, filled: Store) -> None:
    """The worst first, page by page; how many there are in all, and how many of them are kept."""
    path = f"{publish_evaluated(filled)}/evaluation/mistakes"
    first = client.get(path, query_string={"expected": "cat", "received": "dog", "limit": 3}).json
    assert [mistake["example"] for mistake in first["mistakes"]] == [0, 1, 2]
    assert (first["total"], first["kept"], first["next"]) == (8, 5, 3)
    last = client.get(path, query_string={"expected": "cat", "received": "dog", "limit": 3, "offset": 3}).json
    assert ([mistake["input"] for mistake in last["mistakes"]], last["next"]) == (["text 3", "text 4"], None)
    markup = client.get(path, query_string={"received": "<b>cow</b>"}).json
    assert [mistake["example"] for mistake in markup["mistakes"]] == [5]
    whole = client.get(path).json
    assert (whole["total"], whole["kept"], len(whole["mistakes"])) == (9, 6, 6)
    assert client.get(path, query_string={"expected": "dog", "received": "cat"}).json["mistakes"] == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("expected=horse", "'horse', which is no label; there are cat, dog, <b>cow</b>"),
        ("limit=101", "allowed: 1 to 100"),
        ("limit=0", "allowed: 1 to 100"),
        ("offset=-1", "allowed: 0 to"),
        ("received=cat&received=dog", "expected once, received 2 times"),
        ("label=cat", "unknown parameter 'label'; there are expected, received, limit, offset"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(client: FlaskClient, filled: Store, query: str, said: str) -> None:
    """With what it may be."""
    answer = client.get(f"{publish_evaluated(filled)}/evaluation/mistakes?{query}")
    assert (answer.status_code, said in answer.json["error"]) == (400, True), answer.json


def test_several_labels_at_once_are_missed_or_given_wrongly(client: FlaskClient, filled: Store) -> None:
    """An answer can be both."""
    tagged = (make_mistake(0, ["cat"], ["dog"]), make_mistake(1, ["cat", "dog"], ["cat"]))
    pairs = [{"expected": "cat", "received": None, "count": 4}, {"expected": None, "received": "dog", "count": 2}]
    content = EVALUATION.model_dump(exclude={"reference"}) | {"confused": pairs}
    lines = b"".join(mistake.model_dump_json().encode() + b"\n" for mistake in tagged)
    path = f"{publish_evaluated(filled, lines=lines, evaluation=orjson.dumps(content))}/evaluation/mistakes"
    missed = client.get(f"{path}?expected=cat").json
    assert ([mistake["example"] for mistake in missed["mistakes"]], missed["total"]) == ([0], 4)
    assert client.get(f"{path}?received=dog").json["total"] == 2
    both = client.get(f"{path}?expected=dog&received=dog").json
    assert (both["mistakes"], both["total"]) == ([], None)


def test_an_evaluation_of_an_older_release_is_read(client: FlaskClient, filled: Store) -> None:
    """It kept the 50 worst, and neither F1 nor pairs."""
    version = publish(
        filled,
        DIGITS,
        labels=LABELS,
        prepare=lambda staged: (staged / evaluations.FILE).write_bytes(orjson.dumps(OLD)),
    )
    path = f"/api/models/{DIGITS}/versions/{version}/evaluation"
    found = client.get(path).json
    assert found["per_class"]["cat"]["f1"] == pytest.approx(2 / 3)
    assert [tuple(pair.values()) for pair in found["confused"]] == [("cat", "dog", 2), ("dog", "<b>cow</b>", 1)]
    assert (found["wrong"], found["curves"], found["champion"]) == (3, {}, None)
    one = client.get(f"{path}/mistakes?expected=cat&received=dog").json
    assert (one["total"], one["kept"], one["mistakes"][0]["input"]) == (2, 1, "text 0")


@pytest.mark.parametrize("lines", [b'{"example": 1\n', b"[]\n", b'{"example": 1}\n'])
def test_a_damaged_file_of_mistakes_is_said_to_be(client: FlaskClient, filled: Store, lines: bytes) -> None:
    """No JSON, no object, no mistake: not an empty list."""
    answer = client.get(f"{publish_evaluated(filled, lines=lines)}/evaluation/mistakes?expected=cat")
    assert (answer.status_code, "the file of mistakes is damaged" in answer.json["error"]) == (500, True)


def test_a_rejected_jobs_mistakes_are_kept(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """There they are wanted most."""
    job = claim(ledger, accept(ledger, HALF_PLUS))
    assert ledger.jobs.finish(job, State.REJECTED, {"reason": "below the floor"})
    content = EVALUATION.model_dump(exclude={"reference"}) | {"labels": LABELS}
    lines = b"".join(mistake.model_dump_json().encode() + b"\n" for mistake in MISTAKES)
    evaluations.keep_rejected(filled, HALF_PLUS, job.id, orjson.dumps(content), lines)
    found = client.get(f"/api/jobs/{job.id}/evaluation/mistakes?received=dog").json
    assert (found["total"], found["kept"]) == (8, 5)
    for number in range(evaluations.MAX_REJECTED):
        evaluations.keep_rejected(filled, HALF_PLUS, f"job-{number}", b"{}")
    assert client.get(f"/api/jobs/{job.id}/evaluation/mistakes").status_code == 404
    assert not list((filled.root / HALF_PLUS / evaluations.REJECTED).glob(f"{job.id}*")), "its mistakes went with it"


def test_a_version_says_what_uses_it(client: FlaskClient, filled: Store, ledger: Ledger) -> None:
    """Roles, what began with its weights, and what was measured against it."""
    used = publish(filled, HALF_PLUS)
    training = DEFAULTS["training"].model_copy(update={"started_from": used})
    verdict = DEFAULTS["verdict"].model_copy(update={"champion": used})
    later = publish(filled, HALF_PLUS, stable=False, training=training, verdict=verdict)
    job = claim(ledger, accept(ledger, HALF_PLUS))
    assert ledger.jobs.finish(job, State.REJECTED, {"reason": "worse", "verdict": verdict.model_dump()})
    found = client.get(f"/api/models/{HALF_PLUS}/versions/{used}/uses").json
    assert (found["roles"], found["loaded"]) == (["stable"], True)
    assert (found["started_from"], found["compared_with"]) == ([later], [later])
    assert found["jobs"] == [{"id": job.id, "state": "rejected", "version": None}]
    assert (found["captured"], found["feedback"]) == (0, 0)
    assert client.get(f"/api/models/{HALF_PLUS}/versions/99/uses").status_code == 404


def test_a_versions_files_have_sizes_and_hashes(client: FlaskClient, filled: Store) -> None:
    """As the manifest has them; one that is gone has no size."""
    path = publish_evaluated(filled)
    found = client.get(f"{path}/files").json
    by_path = {file["path"]: file for file in found["files"]}
    assert by_path["saved_model.pb"]["bytes"] == len(b"no graph")
    assert len(by_path[evaluations.MISTAKES_FILE]["sha256"]) == 64
    assert by_path["assets.extra/manifest.json"]["sha256"] is None
    assert found["bytes"] == sum(file["bytes"] for file in found["files"])
    (filled.path(DIGITS, int(path.rsplit("/", 1)[1])) / "saved_model.pb").unlink()
    gone = {file["path"]: file["bytes"] for file in client.get(f"{path}/files").json["files"]}
    assert gone["saved_model.pb"] is None
