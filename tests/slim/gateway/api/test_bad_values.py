"""Bodies of control requests that programs would read in different ways, and names of nothing: refused, not guessed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from modelyard.models.catalog import FILE, Catalog, RecipeField, TrainableModel
from modelyard.models.ranges import log_range
from modelyard.models.registry import manifest as manifests
from modelyard.models.registry.store import Store
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.conftest import open_app
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.ledgers import new_ledger_file

MODEL = f"/api/models/{HALF_PLUS}"
RATE = RecipeField(default=0.1, constraints={"type": "number", "exclusiveMinimum": 0, "maximum": 10})
SECRET = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def api(
    shared_store: Store, shared_server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FlaskClient]:
    """Nothing here gets as far as the broker."""
    known = TrainableModel(
        name=HALF_PLUS,
        task="",
        summary="",
        dataset="",
        homepage="",
        recipes={"quick": {"learning_rate": RATE}},
        search={"learning_rate": log_range(0.01, 1)},
    )
    (shared_store.root / FILE).write_text(Catalog(digest="", trainable={HALF_PLUS: known}).model_dump_json())
    url = f"sqlite:///{new_ledger_file(tmp_path_factory.mktemp('bad') / 'ledger.db')}"
    with open_app(GatewaySettings(store=shared_store.root, serving=(shared_server.address,), ledger_url=url)) as app:
        yield app.test_client()


def send(api: FlaskClient, route: str, body: str) -> tuple[int, str]:
    """A status, and an error."""
    method, _, path = route.partition(" ")
    answer = api.open(path, method=method, data=body)
    assert answer.json is not None
    return answer.status_code, answer.json["error"]


BODIES = {
    "POST /api/jobs": '{{"model": "half_plus", "overrides": {{"learning_rate": {}}}}}',
    "POST /api/searches": '{{"model": "half_plus", "trials": 3, "overrides": {{"learning_rate": {}}}}}',
    f"PUT {MODEL}/triggers/t": '{{"psi": {}}}',
    f"POST {MODEL}/rollout": '{{"canary": {{"version": 1, "percent": {}}}}}',
    "POST /api/feedback": '{{"request_id": "x", "value": {}}}',
}
TRIGGER_JOB = f"PUT {MODEL}/triggers/t", '{{"feedback": 5, "job": {{"overrides": {{"learning_rate": {}}}}}}}'


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"NaN"', '"inf"', '"-Infinity"'])
@pytest.mark.parametrize(("route", "body"), [*BODIES.items(), TRIGGER_JOB])
def test_a_number_that_is_not_finite_is_refused(api: FlaskClient, route: str, body: str, number: str) -> None:
    """In whatever way it is written, text included: it would pass every bound, as no comparison with NaN is true."""
    status, error = send(api, route, body.format(number))
    assert status == 400, error
    assert number.startswith('"') or error == f"expected finite numbers, received {number}"
    assert api.get("/api/jobs").json == {"jobs": [], "next": None}


@pytest.mark.parametrize(
    ("route", "body", "name"),
    [
        ("POST /api/jobs", '{"model": "half_plus", "model": "other"}', "model"),
        ("POST /api/jobs", '{"model": "half_plus", "rollout": "manual", "rollout": "stable"}', "rollout"),
        (
            "POST /api/jobs",
            '{"model": "half_plus", "overrides": {"learning_rate": 1, "learning_rate": 2}}',
            "learning_rate",
        ),
        ("POST /api/jobs", '{"model": "half_plus", "mod\\u0065l": "half_plus"}', "model"),
        ("POST /api/searches", '{"model": "half_plus", "trials": 3, "trials": 3}', "trials"),
        (f"PUT {MODEL}/triggers/t", '{"feedback": 5, "job": {"recipe": "quick", "recipe": "full"}}', "recipe"),
        (f"POST {MODEL}:promote", '{"version": 1, "version": 2}', "version"),
        (f"POST {MODEL}:rollback", '{"reason": "a", "reason": "b"}', "reason"),
        (f"POST {MODEL}/rollout", '{"labels": {"a": 1, "a": 2}}', "a"),
        ("POST /api/feedback", '{"request_id": "x", "value": 1, "request_id": "y"}', "request_id"),
        ("POST /api/keys", '{"name": "a", "role": "viewer", "role": "admin"}', "role"),
    ],
)
def test_a_name_that_is_given_twice_is_refused(api: FlaskClient, route: str, body: str, name: str) -> None:
    """On every control route, at every depth, with equal values too: which of the two was meant, nobody knows."""
    assert send(api, route, body) == (400, f"field '{name}': expected once, received more than once")


@pytest.mark.parametrize(
    "body", ['{"model": "half_plus", "overrides": ' + "[" * 5000, '{"model": ' + "9" * 9000 + "}", "NaN"]
)
def test_a_body_that_strains_a_parser_is_an_error_too(api: FlaskClient, body: str) -> None:
    """Nesting, digits, no object at all."""
    assert send(api, "POST /api/jobs", body)[0] == 400


def test_a_filter_that_is_given_twice_is_refused(api: FlaskClient) -> None:
    """But for the one that may come several times."""
    assert api.get("/api/jobs?state=failed&state=queued").status_code == 200
    twice = api.get("/api/jobs?limit=1&limit=2")
    assert (twice.status_code, twice.json["error"]) == (400, "limit: expected once, received 2 times")


@pytest.mark.parametrize("path", ["drift", "triggers", "rollout", "versions/1"])
@pytest.mark.parametrize("model", ["nothing_here", "half_plu", "Half_Plus", "..", "x" * 100])
def test_an_unknown_model_is_404_wherever_it_is_named(api: FlaskClient, model: str, path: str) -> None:
    """Not an empty list: that would say that there is such a model."""
    assert send(api, f"GET /api/models/{model}/{path}", "")[0] == 404


@pytest.mark.parametrize("path", ["drift", "triggers"])
def test_a_known_model_without_any_is_an_empty_answer(api: FlaskClient, path: str) -> None:
    """It has a version, and nothing was set or measured."""
    assert api.get(f"{MODEL}/{path}").status_code == 200


def test_what_can_be_trained_and_has_no_version_is_known(api: FlaskClient, shared_store: Store) -> None:
    """Triggers may be set for it."""
    file = shared_store.root / FILE
    known = Catalog.model_validate_json(file.read_bytes())
    fresh = known.trainable[HALF_PLUS].model_copy(update={"name": "fresh"})
    file.write_text(Catalog(digest="", trainable={**known.trainable, "fresh": fresh}).model_dump_json())
    assert api.get("/api/models/fresh/triggers").json == {"triggers": []}
    assert api.get("/api/models/fresh/drift").json["version"] is None


# --- things in the store that are named like versions -----------------------------------------------------------------


def a_file(path: Path) -> None:
    path.write_text("not a folder")


def an_empty_folder(path: Path) -> None:
    path.mkdir()


def a_folder_whose_manifest_is_a_folder(path: Path) -> None:
    (path / manifests.FILE).mkdir(parents=True)


def a_manifest_of_garbage(path: Path) -> None:
    (path / manifests.FILE).parent.mkdir(parents=True)
    (path / manifests.FILE).write_bytes(b"\xff{")


@pytest.mark.parametrize(
    ("make", "status"),
    [(a_file, 404), (an_empty_folder, 404), (a_folder_whose_manifest_is_a_folder, 500), (a_manifest_of_garbage, 500)],
)
def test_what_is_only_named_like_a_version_cannot_be_promoted(
    client: FlaskClient, filled: Store, make: Callable[[Path], None], status: int
) -> None:
    """What is no version is unknown; one that is damaged says so: never an opaque error."""
    make(filled.path(HALF_PLUS, 7))
    requests = {f"POST {MODEL}:promote": '{"version": 7}', f"POST {MODEL}/rollout": '{"canary": {"version": 7}}'}
    for route, body in {**requests, f"GET {MODEL}/versions/7": ""}.items():
        found = send(client, route, body)
        assert found[0] == status, found
        assert "version 7" in found[1]
    assert client.get(MODEL).status_code == 200
