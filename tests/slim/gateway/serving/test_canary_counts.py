"""Canaries, shadows and labels at the gateway: which version a request gets, and what is recorded of it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import grpc
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import SignatureSpec
from modelyard.models.registry.roles.canary import Canary
from modelyard.models.registry.roles.shadow import Shadow
from modelyard.models.registry.rollout import Rollout, change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.serving import shadow
from modelyard.services.gateway.serving.batching.calls import Outputs
from modelyard.services.gateway.serving.canary_counts import CanaryCounts
from modelyard.services.gateway.serving.interface import Experiment, Interface
from modelyard.services.gateway.serving.shadow import Incomparable, ShadowTraffic, compare_outputs
from modelyard.services.gateway.serving.versions import choose_version
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.ledger import Ledger
from modelyard.services.ledger.observations import Observations
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, encoded, publish
from tests.support.waiting import wait_until

NOW = datetime(2026, 11, 1, tzinfo=UTC)
V1, V2 = f"/v1/models/{HALF_PLUS}", f"/v2/models/{HALF_PLUS}"
ROWS = {"instances": [[0.0]]}
TENSORS = {"inputs": [{"name": "vectors", "shape": [1, 1], "datatype": "FP32", "data": [0.0]}]}


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, ledger_url: str) -> GatewaySettings:
    return GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)


@pytest.fixture
def observations(ledger: Ledger) -> Observations:
    return ledger.observations


def begin(store: Store, percent: float) -> None:
    """Version 2 is stable, version 1 its canary."""
    canary = Canary(version=1, percent=percent, since=NOW)
    change_rollout(store, HALF_PLUS, lambda now: now.start_canary(canary, by="t", reason="r"))


def version_of(client: FlaskClient, key: str | None = None, path: str = f"{V1}:predict", body: Any = ROWS) -> int:
    headers = {} if key is None else {"X-Rollout-Key": key}
    answer = client.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.json
    return int(answer.headers["X-Model-Version"])


# --- which version a request gets -------------------------------------------------------------------------------------


def test_a_key_gets_the_same_version_in_both_protocols_and_shares_hold(client: FlaskClient, filled: Store) -> None:
    """Whoever was with the canary stays with it when its share grows; nobody at 0 %, everybody at 100 %."""
    keys = [f"user-{number}" for number in range(60)]
    groups: list[set[str]] = []
    for percent in (0, 20, 50, 100):
        begin(filled, percent)
        groups.append({key for key in keys if version_of(client, key) == 1})
        assert groups[-1] == {key for key in keys if version_of(client, key, f"{V2}/infer", TENSORS) == 1}
    assert [low <= high for low, high in pairwise(groups)] == [True] * 3
    assert (len(groups[0]), len(groups[3])) == (0, 60)
    assert 3 <= len(groups[1]) <= 24
    assert 15 <= len(groups[2]) <= 45


def test_without_a_key_chance_decides_each_time(client: FlaskClient, filled: Store) -> None:
    """And a version that the request names does not depend on it."""
    begin(filled, 50)
    seen = Counter(version_of(client) for _ in range(100))
    assert 25 <= seen[1] <= 75
    assert {version_of(client, path=f"{V1}/versions/2:predict") for _ in range(20)} == {2}


def test_another_canary_is_tried_on_others() -> None:
    """The same clients are not always the first."""
    keys = [str(number) for number in range(1000)]

    def group(version: int) -> set[str]:
        now = Rollout(stable=1, canary=Canary(version=version, percent=10, since=NOW))
        return {key for key in keys if choose_version(now, None, None, key) == version}

    assert len(group(2) & group(3)) < 0.5 * len(group(2))


@pytest.mark.parametrize(("label", "version"), [("stable", 2), ("canary", 1), ("shadow", 1), ("blue", 1)])
def test_labels_name_versions_in_both_protocols(client: FlaskClient, filled: Store, label: str, version: int) -> None:
    """Those that follow from the rollout, and those that a person gave."""
    begin(filled, 0)
    shadow = Shadow(version=1, since=NOW)
    change_rollout(filled, HALF_PLUS, lambda now: now.start_shadow(shadow, by="t", reason="r"))
    change_rollout(filled, HALF_PLUS, lambda now: now.label("blue", 1, by="t", reason="r"))
    assert version_of(client, path=f"{V1}/labels/{label}:predict") == version
    assert version_of(client, path=f"{V2}/versions/{label}/infer", body=TENSORS) == version


def test_a_label_that_no_version_bears_is_400(client: FlaskClient) -> None:
    """In TensorFlow Serving's words."""
    answer = client.post(f"{V1}/labels/canary:predict", json=ROWS)
    assert (answer.status_code, answer.json) == (400, {"error": "Unrecognized servable version label: canary"})


# --- what is observed -------------------------------------------------------------------------------------------------


def test_predictions_failures_and_times_are_counted_where_the_rollout_chose_the_version(
    app: Flask, client: FlaskClient, filled: Store, server: FakeModelServer, observations: Observations
) -> None:
    """Neither a client's own mistake nor a version that the request names counts."""
    begin(filled, 100)
    for _ in range(5):
        version_of(client)
    server.fail_next(grpc.StatusCode.INTERNAL)
    assert client.post(f"{V1}:predict", json=ROWS).status_code == 500
    server.fail_next(grpc.StatusCode.INVALID_ARGUMENT)
    assert client.post(f"{V1}:predict", json=ROWS).status_code == 400
    version_of(client, path=f"{V1}/versions/1:predict")
    begin(filled, 0)
    version_of(client)
    app.extensions["predictor"].canary_counts.close()
    found = observations.sum_counts(HALF_PLUS, NOW)
    assert (found["canary"]["answers"], found["canary"]["errors"]) == (6, 1)
    assert sum(count for name, count in found["canary"].items() if name.startswith("within_")) == 5
    assert (found["stable"]["answers"], found["stable"]["errors"]) == (1, 0)


def test_observations_are_returned_with_the_rollout(app: Flask, client: FlaskClient, filled: Store) -> None:
    """With the rollout; without a trial there is nothing."""
    assert client.get(f"/api/models/{HALF_PLUS}/rollout").json["observed"] is None
    begin(filled, 100)
    version_of(client)
    app.extensions["predictor"].canary_counts.close()
    assert client.get(f"/api/models/{HALF_PLUS}/rollout").json["observed"]["canary"]["answers"] == 1


# --- shadows ----------------------------------------------------------------------------------------------------------


def shadow_of(store: Store, model: str, version: int) -> None:
    change_rollout(store, model, lambda now: now.start_shadow(Shadow(version=version, since=NOW), by="t", reason="r"))


def observed(observations: Observations, model: str) -> dict[str, float]:
    return dict(observations.sum_counts(model, NOW).get("shadow", {}))


def test_a_shadow_gets_a_copy_of_the_request_and_is_compared(
    app: Flask, client: FlaskClient, filled: Store, server: FakeModelServer, observations: Observations
) -> None:
    """The client gets the stable version's output; that of version 1 is 1 less, which is a disagreement."""
    shadow_of(filled, HALF_PLUS, 1)
    assert version_of(client) == 2
    wait_until(lambda: len(server.calls) == 2, 60, "the shadow is asked")
    wait_until(lambda: not app.extensions["predictor"].shadow_traffic.pending, 60, "compared")
    app.extensions["predictor"].canary_counts.close()
    assert observed(observations, HALF_PLUS) == {"asked": 1, "rows": 1, "disagreed": 1, "shift": 1.0}


def test_a_shadow_that_fails_troubles_nobody(
    app: Flask, client: FlaskClient, filled: Store, observations: Observations
) -> None:
    """It is counted."""
    second = publish(filled, DIGITS, stable=False)
    shadow_of(filled, DIGITS, second)  # which the model server has not loaded
    picture = client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png")
    assert (picture.status_code, picture.headers["X-Model-Version"]) == (200, "1")
    wait_until(lambda: not app.extensions["predictor"].shadow_traffic.pending, 60, "called")
    app.extensions["predictor"].canary_counts.close()
    assert observed(observations, DIGITS) == {"asked": 1, "failed": 1}


def test_a_shadow_that_is_behind_gets_no_more_requests(ledger: Ledger, observations: Observations) -> None:
    """Until it has caught up: what is left out is counted, and holds no memory."""

    async def never_return(*_: Any, **__: Any) -> Outputs:
        await asyncio.Event().wait()
        raise AssertionError

    async def mirror() -> None:
        trials = CanaryCounts(ledger)
        behind = ShadowTraffic(lambda *_: interface, never_return, trials)
        for _ in range(shadow.MAX_PENDING + 5):
            behind.mirror(interface, "serving_default", {}, Outputs({}, 2))
        await asyncio.to_thread(trials.close)

    spec = SignatureSpec(inputs=(), outputs=())
    experiment = Experiment(canary=None, shadow=Shadow(version=1, since=NOW))
    interface = Interface(HALF_PLUS, 2, {"serving_default": spec}, None, (), None, batches=True, experiment=experiment)
    asyncio.run(mirror())
    assert observed(observations, HALF_PLUS) == {"left_out": 5}


def test_classes_disagree_when_they_differ_and_scores_shift() -> None:
    """By the stable version's class."""
    stable = {"class_id": np.array([0, 1]), "probabilities": np.array([[0.9, 0.1], [0.2, 0.8]])}
    shadow = {"class_id": np.array([0, 0]), "probabilities": np.array([[0.7, 0.3], [0.6, 0.4]])}
    assert compare_outputs(stable, shadow) == pytest.approx({"rows": 2, "disagreed": 1, "shift": 0.6})


def test_texts_and_outputs_of_ones_own_are_compared() -> None:
    """Texts as they are; a class without probabilities is a number like any other."""
    ours, theirs = (np.array(texts, object) for texts in ([b"a", b"b", b"c"], [b"a", b"x", b"y"]))
    assert compare_outputs({"text": ours}, {"text": theirs}) == {"rows": 3, "disagreed": 2, "shift": 2.0}
    one, other = {"class_id": np.array([1, 2])}, {"class_id": np.array([1, 3])}
    assert compare_outputs(one, other) == {"rows": 2, "disagreed": 1, "shift": 1.0}


@pytest.mark.parametrize(
    "shadow",
    [
        {},
        {"value": np.zeros(3)},
        {"value": np.zeros((2, 2))},
        {"other": np.zeros(2)},
        {"value": np.array([b"a", b"b"])},
    ],
)
def test_outputs_of_another_form_are_not_compared(shadow: dict[str, Any]) -> None:
    """They are failures of the shadow."""
    with pytest.raises(Incomparable):
        compare_outputs({"value": np.zeros(2)}, shadow)
