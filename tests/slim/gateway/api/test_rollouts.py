"""Which version answers, as a person decides it over HTTP; bad requests change nothing."""

from typing import Any

import grpc
import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import Verdict
from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline.golden import save_golden
from tests.support.fake_models import half_plus
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, data, publish

ROUTE = f"/api/models/{HALF_PLUS}"


def predict(client: FlaskClient) -> float:
    """Every version gives itself away: x/2 + version, of 0."""
    body: dict[str, Any] = client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]]}).json  # type: ignore[assignment]  # JSON of any form
    return float(np.ravel(body["predictions"])[0])


def publish_golden(server: FakeModelServer, store: Store, off: float = 0.0, **said: Any) -> int:
    """A version that is served and not stable; its golden answers may differ from those it gives."""
    vectors = np.zeros((1, 1), np.float32)
    number = store.versions(HALF_PLUS)[-1] + 1
    answers = {f"serving_default/{name}": value + off for name, value in half_plus(vectors, number).items()}
    golden = {"serving_default/vectors": vectors} | answers
    version = publish(store, HALF_PLUS, stable=False, prepare=lambda staged: save_golden(staged, golden), **said)
    server.loaded.add((HALF_PLUS, version))
    return version


def test_a_rollback_is_one_call_and_the_next_prediction_is_the_old_versions(client: FlaskClient) -> None:
    """With the reason and the principal in the history; a second call is refused, and changes nothing."""
    assert predict(client) == 2
    done = client.post(f"{ROUTE}:rollback", json={"reason": "worse on Sundays"})
    assert (done.status_code, done.json["stable"], done.json["keep"]) == (200, 1, [])
    assert predict(client) == 1
    again = client.post(f"{ROUTE}:rollback")
    assert (again.status_code, again.json["error"]) == (409, "version 1 stays: none answered before")
    assert predict(client) == 1
    newest = client.get(f"{ROUTE}/rollout").json["history"][0]
    assert (newest["action"], newest["version"], newest["reason"], newest["by"]) == (
        "rollback",
        1,
        "worse on Sundays",
        "http 127.0.0.1",
    )


def test_a_version_is_promoted_once_its_outputs_are_those_of_training(
    client: FlaskClient, server: FakeModelServer, filled: Store
) -> None:
    """The reason is recorded; promoting the stable version again changes nothing."""
    version = publish_golden(server, filled)
    done = client.post(f"{ROUTE}:promote", json={"version": version, "reason": "looked at it"})
    assert (done.status_code, done.json["stable"]) == (200, version), done.json
    assert predict(client) == version
    assert client.get(f"{ROUTE}/rollout").json["history"][0]["detail"]["why"] == "looked at it"
    again = client.post(f"{ROUTE}:promote", json={"version": version}).json
    assert again["history"] == client.get(f"{ROUTE}/rollout").json["history"]


def test_a_version_that_is_unloaded_during_its_parity_check_is_waited_for(
    client: FlaskClient, server: FakeModelServer, filled: Store
) -> None:
    """The model server had read a configuration of a moment before, without it."""
    version = publish_golden(server, filled)
    server.fail_next(grpc.StatusCode.NOT_FOUND, "Servable not found for request")
    done = client.post(f"{ROUTE}:promote", json={"version": version})
    assert (done.status_code, done.json["stable"]) == (200, version), done.json


def test_a_version_whose_outputs_differ_from_training_is_not_promoted(
    client: FlaskClient, server: FakeModelServer, filled: Store
) -> None:
    """Not by force, either; the version before stays stable."""
    version = publish_golden(server, filled, off=0.5)
    asked = {"version": version, "reason": "I am sure", "force": True}
    refused = client.post(f"{ROUTE}:promote", json=asked)
    assert (refused.status_code, "differ from training by 0." in refused.json["error"]) == (409, True)
    assert predict(client) == 2
    assert version not in read_rollout(filled, HALF_PLUS).loaded


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            {
                "verdict": Verdict(
                    accepted=False, reasons=("too low",), metric="r2", value=0.1, champion=None, champion_value=None
                )
            },
            "failed its gate: too low",
        ),
        ({"data": data("sample")}, "was trained on the sample, version 3 on the real data"),
    ],
)
def test_a_version_that_failed_its_gate_needs_force_and_a_reason(
    client: FlaskClient, server: FakeModelServer, filled: Store, said: dict[str, Any], reason: str
) -> None:
    """Both are recorded; a reason of blanks is none."""
    real = publish_golden(server, filled, data=data("real"))
    assert client.post(f"{ROUTE}:promote", json={"version": real}).status_code == 200
    version = publish_golden(server, filled, **said)
    refused = client.post(f"{ROUTE}:promote", json={"version": version})
    assert (refused.status_code, reason in refused.json["error"]) == (409, True), refused.json
    unexplained = client.post(f"{ROUTE}:promote", json={"version": version, "force": True, "reason": " "})
    assert (unexplained.status_code, "force needs a reason" in unexplained.json["error"]) == (400, True)
    assert predict(client) == real
    forced = client.post(f"{ROUTE}:promote", json={"version": version, "force": True, "reason": "only for the fair"})
    assert forced.json["stable"] == version
    why = forced.json["history"][0]["detail"]["why"]
    assert why.startswith("only for the fair (forced: ")
    assert reason in why


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        (f"{ROUTE}:promote", b"", 400, "Invalid JSON"),
        (
            f"{ROUTE}:promote",
            b"{}",
            400,
            "field 'version': Field required; the fields are reason, force, if_stable, version",
        ),
        (f"{ROUTE}:promote", b'{"version": 0}', 400, "field 'version': Input should be greater than or equal to 1"),
        (f"{ROUTE}:promote", b'{"version": 2, "url": "x"}', 400, "field 'url': Extra inputs are not permitted"),
        (f"{ROUTE}:promote", b'{"version": 99}', 404, "has no version 99"),
        (f"{ROUTE}/rollout", b'{"canary": {"version": 1, "percent": 101}}', 400, "field 'canary.percent'"),
        (f"{ROUTE}/rollout", b'{"canary": {"version": 1, "percent": -1}}', 400, "greater than or equal to 0"),
        (f"{ROUTE}/rollout", b'{"canary": {"version": 1, "share": 1}}', 400, "field 'canary.share'"),
        (f"{ROUTE}/rollout", b'{"canary": {"version": 99}}', 404, "has no version 99"),
        (f"{ROUTE}/rollout", b'{"canary": {"version": 2}}', 409, "version 2 is stable already"),
        (f"{ROUTE}/rollout", b'{"canary": null}', 409, "there is no canary"),
        (f"{ROUTE}/rollout", b'{"shadow": null}', 409, "there is no shadow"),
        (f"{ROUTE}/rollout", b'{"labels": {"stable": 1}}', 400, "stable cannot be given"),
        (f"{ROUTE}/rollout", b'{"labels": {"Blue!": 1}}', 400, "field 'labels.Blue!"),
        (f"{ROUTE}/rollout", b'{"labels": {"blue": null}}', 409, "no version is labelled 'blue'"),
        (f"{ROUTE}:rollback", b'{"reason": 7}', 400, "field 'reason'"),
        (f"{ROUTE}:rollback", b'{"percent": 7}', 400, "the fields are reason, if_stable"),
        ("/api/models/nobody:rollback", b"", 404, "has no version yet"),
        ("/api/models/..:promote", b'{"version": 1}', 404, "unknown model"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_field(
    client: FlaskClient, filled: Store, path: str, body: bytes, status: int, text: str
) -> None:
    """And nothing is changed."""
    before = read_rollout(filled, HALF_PLUS)
    refused = client.post(path, data=body, content_type="application/json")
    assert (refused.status_code, text in refused.json["error"]) == (status, True), refused.json
    assert read_rollout(filled, HALF_PLUS) == before


def test_roles_are_given_and_taken_in_one_request(client: FlaskClient, server: FakeModelServer, filled: Store) -> None:
    """Each version is loaded and compared first; what is left out stays as it is."""
    version = publish_golden(server, filled)
    asked = {"canary": {"version": version, "percent": 25}, "labels": {"blue": version}, "reason": "look at it"}
    begun = client.post(f"{ROUTE}/rollout", json=asked).json
    assert (begun["stable"], begun["canary"]["percent"], begun["labels"]) == (2, 25, {"blue": version})
    assert [change["action"] for change in begun["history"][:2]] == ["label", "canary"]
    assert begun["history"][0]["detail"]["why"] == "look at it"
    shadowed = client.post(f"{ROUTE}/rollout", json={"canary": None, "shadow": version}).json
    assert (shadowed["canary"], shadowed["shadow"]["version"], shadowed["labels"]) == (None, version, {"blue": version})
    ended = client.post(f"{ROUTE}/rollout", json={"shadow": None, "labels": {"blue": None}}).json
    assert (ended["shadow"], ended["labels"], version in read_rollout(filled, HALF_PLUS).loaded) == (None, {}, False)


def test_a_canary_whose_outputs_differ_from_training_gets_no_share(
    client: FlaskClient, server: FakeModelServer, filled: Store
) -> None:
    """And is let go of."""
    version = publish_golden(server, filled, off=0.5)
    refused = client.post(f"{ROUTE}/rollout", json={"canary": {"version": version}})
    assert (refused.status_code, "differ from training" in refused.json["error"]) == (409, True)
    assert read_rollout(filled, HALF_PLUS).canary is None
    assert version not in read_rollout(filled, HALF_PLUS).loaded


def test_a_decision_record_tells_where_a_version_came_from_and_what_became_of_it(client: FlaskClient) -> None:
    """Data, recipe, verdict, environment, job; every change that names it, also the one that took its place."""
    client.post(f"{ROUTE}:rollback", json={"reason": "worse"})
    found = client.get(f"{ROUTE}/versions/2").json
    assert {"data", "recipe", "training", "verdict", "environment", "job"} <= set(found)
    assert (found["stable"], found["loaded"]) == (False, False)
    assert [change["action"] for change in found["changes"]] == ["promote", "rollback"]
    assert client.get(f"{ROUTE}/versions/77").status_code == 404
    assert client.get(f"/api/models/{DIGITS}/rollout").json["history"]
