"""Two people who change a rollout at once; and how a canary may be asked for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from tests.slim.gateway.api.test_rollouts import ROUTE, predict, publish_golden
from tests.support.fakes import HALF_PLUS, FakeModelServer


def test_the_second_of_two_who_promote_at_once_is_told(app: Flask, server: FakeModelServer, filled: Store) -> None:
    """One version is promoted; nothing is said against the other, which is unloaded."""
    versions = [publish_golden(server, filled), publish_golden(server, filled)]

    def promote(version: int) -> Any:
        body = {"version": version, "if_stable": 2, "reason": f"mine is {version}"}
        return app.test_client().post(f"{ROUTE}:promote", json=body)

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(promote, versions))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    now = read_rollout(filled, HALF_PLUS)
    winner, loser = versions if answers[0].status_code == 200 else versions[::-1]
    assert (now.stable, loser in now.loaded) == (winner, False)
    refused = next(answer.json["error"] for answer in answers if answer.status_code == 409)
    assert f"version 2 is not stable any more, {winner} is (promote by http 127.0.0.1" in refused
    assert f"mine is {winner}" in refused
    assert [change.action for change in now.history[-1:]] == ["promote"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (":rollback", {"reason": "worse"}),
        (":promote", {"version": 1}),
        ("/rollout", {"canary": {"version": 2}}),
        ("/rollout", {"fallback": False}),
        ("/rollout", {"labels": {"blue": 2}}),
    ],
)
def test_who_saw_another_version_as_stable_changes_nothing(
    client: FlaskClient, filled: Store, path: str, body: dict[str, Any]
) -> None:
    """Two who roll back at once go back once."""
    assert client.post(f"{ROUTE}:rollback", json={"reason": "worse", "if_stable": 2}).status_code == 200
    before = read_rollout(filled, HALF_PLUS)
    refused = client.post(f"{ROUTE}{path}", json={**body, "if_stable": 2})
    assert (refused.status_code, "version 2 is not stable any more, 1 is (rollback" in refused.json["error"]) == (
        409,
        True,
    ), refused.json
    assert read_rollout(filled, HALF_PLUS) == before
    assert predict(client) == 1


@pytest.mark.parametrize(
    ("asked", "percent", "judge", "steps"),
    [
        ({}, 10, "full", []),
        ({"percent": 30, "judge": "abort-only"}, 30, "abort-only", []),
        ({"judged": False}, 10, "off", []),
        ({"steps": [5, 25.5], "enough": 40}, 5, "full", [(5, 40), (25.5, 40)]),
        ({"steps": ["5", {"percent": 25, "enough": 7}], "percent": 2}, 2, "full", [(5, 10_000), (25, 7)]),
    ],
)
def test_a_canary_is_asked_for_with_its_judge_and_steps(
    client: FlaskClient,
    server: FakeModelServer,
    filled: Store,
    asked: dict[str, Any],
    percent: float,
    judge: str,
    steps: list[tuple[float, int]],
) -> None:
    """A step has the canary's number of answers unless it has its own; the share is the first one's unless said."""
    version = publish_golden(server, filled)
    done = client.post(f"{ROUTE}/rollout", json={"canary": {"version": version, **asked}})
    assert done.status_code == 200, done.json
    found = done.json["canary"]
    assert (found["percent"], found["judge"], found["judged"]) == (percent, judge, judge != "off")
    assert [(step["percent"], step["enough"]) for step in found["steps"]] == steps


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"steps": [25, 5]}, "expected ascending shares; received 25, 5"),
        ({"steps": [5, 5]}, "expected ascending shares"),
        ({"steps": [0]}, "greater than 0"),
        ({"steps": [101]}, "less than or equal to 100"),
        ({"steps": "5,25"}, "field 'canary.steps'"),
        ({"judge": "sometimes"}, "'full', 'abort-only' or 'off'"),
        ({"steps": [{"percent": 5, "enough": 0}]}, "greater than or equal to 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(client: FlaskClient, asked: dict[str, Any], text: str) -> None:
    """With the field."""
    refused = client.post(f"{ROUTE}/rollout", json={"canary": {"version": 1, **asked}})
    assert (refused.status_code, text in refused.json["error"]) == (400, True), refused.json
