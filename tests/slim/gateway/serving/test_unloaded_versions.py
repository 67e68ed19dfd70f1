"""A rollback unloads what it rolls back from: no request that was on its way gets an error for that."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask

from modelyard.models.registry.rollout import Rollout, change_rollout
from modelyard.models.registry.serving_set import roll_back
from modelyard.models.registry.store import Store
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.waiting import TIMEOUT_S

V1, V2 = f"/v1/models/{HALF_PLUS}", f"/v2/models/{HALF_PLUS}"
ROWS = {"instances": [[1.0]]}
TENSORS = {"inputs": [{"name": "vectors", "shape": [1, 1], "datatype": "FP32", "data": [1.0]}]}


def promote_older(now: Rollout) -> Rollout:
    return now.promote(1, by="t", reason="r")


@pytest.mark.parametrize("goes_back", ["rollback", "promotion"])
@pytest.mark.parametrize(("path", "body"), [(f"{V1}:predict", ROWS), (f"{V2}/infer", TENSORS)], ids=["v1", "v2"])
def test_a_request_on_its_way_to_a_version_that_is_unloaded_gets_the_stable_one(
    app: Flask, server: FakeModelServer, filled: Store, path: str, body: dict[str, Any], goes_back: str
) -> None:
    """It had chosen the version by the rollout of before; the model server refuses it, and it is run again."""
    server.release.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(app.test_client().post, path, json=body)
        assert server.entered.wait(TIMEOUT_S)
        if goes_back == "rollback":
            roll_back(filled, HALF_PLUS, by="t", reason="r")
        else:
            change_rollout(filled, HALF_PLUS, promote_older)
        server.loaded.discard((HALF_PLUS, 2))
        server.release.set()
        answer = waiting.result(TIMEOUT_S)
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1"), answer.text


def test_whoever_names_the_unloaded_version_is_told_that_it_is_not_there(
    app: Flask, server: FakeModelServer, filled: Store
) -> None:
    """In the model server's words, by number; its label is unknown, or names the version that has it now."""
    roll_back(filled, HALF_PLUS, by="t", reason="r")
    server.loaded.discard((HALF_PLUS, 2))
    client = app.test_client()
    named = client.post(f"{V1}/versions/2:predict", json=ROWS)
    assert (named.status_code, named.json) == (
        404,
        {"error": f"Servable not found for request: Specific({HALF_PLUS}, 2)"},
    )
    assert client.post(f"{V1}/labels/stable:predict", json=ROWS).headers["X-Model-Version"] == "1"
    unknown = client.post(f"{V1}/labels/canary:predict", json=ROWS)
    assert (unknown.status_code, unknown.json) == (400, {"error": "Unrecognized servable version label: canary"})
