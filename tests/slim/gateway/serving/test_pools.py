"""A gateway with two pools of model servers: each model is asked of its own, and moves without a lost request."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import VersionSize
from modelyard.models.registry.pools.size import MB, find_memory
from modelyard.models.registry.roles.placement import Placement
from modelyard.models.registry.rollout import change_rollout, read_rollout
from modelyard.models.registry.serving_config import read_entries
from modelyard.models.registry.store import Store
from modelyard.pipeline.golden import save_golden
from modelyard.services.gateway.serving.circuit_breaker import MAX_CONSECUTIVE
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.conftest import open_app
from tests.slim.gateway.api.test_rollouts import predict, publish_golden
from tests.support.fake_models import half_plus
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer
from tests.support.ledgers import new_ledger_file
from tests.support.waiting import wait_until

ROUTE = f"/api/models/{HALF_PLUS}"
REVIEW = {"instances": ["good"]}


@dataclass
class TwoPools:
    """The gateway, a server of the default pool and one of the pool ``gpu``."""

    client: FlaskClient
    store: Store
    plain: FakeModelServer
    gpu: FakeModelServer

    def move(self, pool: str, model: str = HALF_PLUS) -> Any:
        return self.client.post(f"/api/models/{model}:move", json={"pool": pool, "reason": "a test"})

    def place(self, model: str, pool: str) -> None:
        """Without a check, as if it had been there always."""
        change_rollout(self.store, model, lambda now: now.model_copy(update={"placement": Placement(pool=pool)}))

    def pool(self, name: str) -> dict[str, Any]:
        (found,) = (each for each in self.client.get("/api/pools").json["pools"] if each["name"] == name)
        return found

    def counted(self) -> tuple[int, int]:
        """Predictions that each server was asked for."""
        return len(self.plain.calls), len(self.gpu.calls)

    def metric(self, name: str) -> dict[str, str]:
        """A metric's value by pool; of the labels besides nothing is said."""
        lines = self.client.get("/metrics").text.splitlines()
        found = (line for line in lines if line.startswith(f"{name}{{"))
        return {line.partition('pool="')[2].partition('"')[0]: line.rpartition(" ")[2] for line in found}


def add_golden(store: Store, version: int) -> None:
    """What a move compares with; versions of the template have none."""
    vectors = np.zeros((1, 1), np.float32)
    answers = {f"serving_default/{name}": value for name, value in half_plus(vectors, version).items()}
    save_golden(store.path(HALF_PLUS, version), {"serving_default/vectors": vectors} | answers)


@pytest.fixture
def other(filled: Store) -> Iterator[FakeModelServer]:
    for version in filled.versions(HALF_PLUS):
        add_golden(filled, version)
    with FakeModelServer(filled) as running:
        yield running


@pytest.fixture
def settings(filled: Store, server: FakeModelServer, other: FakeModelServer) -> GatewaySettings:
    ledger_url = f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}"
    return GatewaySettings(
        store=filled.root,
        serving=(server.address,),
        serving_pools={"gpu": (other.address,)},
        pool_memory={"gpu": "100m"},
        ledger_url=ledger_url,
    )


@pytest.fixture
def pools(app: Flask, filled: Store, server: FakeModelServer, other: FakeModelServer) -> TwoPools:
    return TwoPools(app.test_client(), filled, server, other)


def test_a_model_is_asked_of_its_own_pool_and_the_others_of_theirs(pools: TwoPools) -> None:
    """By every route that calls a model server, states too."""
    assert predict(pools.client) == 2
    assert pools.counted() == (1, 0)
    pools.place(HALF_PLUS, "gpu")
    assert predict(pools.client) == 2
    assert pools.client.post(f"/v1/models/{REVIEWS}:predict", json=REVIEW).status_code == httpx.codes.OK
    assert pools.counted() == (2, 1)
    pools.plain.loaded = {key for key in pools.plain.loaded if key[0] != HALF_PLUS}
    assert {each["state"] for each in pools.client.get(ROUTE).json["versions"]} == {"AVAILABLE"}
    assert pools.client.get(f"/v1/models/{HALF_PLUS}/metadata").status_code == httpx.codes.OK
    assert pools.metric("modelyard_gateway_replica_reachable") == {"default": "1.0", "gpu": "1.0"}


def test_a_move_loads_first_then_answers_from_there_and_keeps_the_old_one(pools: TwoPools) -> None:
    """Who asks is told where it runs; the change is in the history, and moving it there again changes nothing."""
    done = pools.move("gpu")
    assert (done.status_code, done.json["placement"]["pool"]) == (httpx.codes.OK, "gpu"), done.json
    assert done.json["placement"]["leaving"]["pool"] == "default"
    assert (done.json["history"][0]["action"], done.json["history"][0]["detail"]["pool"]) == ("move", "gpu")
    asked = len(pools.gpu.calls)  # golden inputs, of each version that is loaded
    assert asked == 2
    assert (predict(pools.client), len(pools.gpu.calls)) == (2, asked + 1)
    for pool in ("default", "gpu"):
        assert read_entries(pools.store, pool)[HALF_PLUS].versions == (1, 2)
    assert pools.client.get(ROUTE).json["rollout"]["placement"]["pool"] == "gpu"
    listed = {each["name"]: each.get("pool") for each in pools.client.get("/api/models").json["models"]}
    assert listed == {DIGITS: "default", HALF_PLUS: "gpu", REVIEWS: "default"}
    assert pools.move("gpu").json["history"] == done.json["history"]
    assert pools.move("default").json["placement"]["pool"] == "default"


def test_a_pool_that_cannot_run_the_model_gets_no_request(pools: TwoPools) -> None:
    """The model answers where it was, and the other pool is not told to load it any more."""
    pools.gpu.fail_next(grpc.StatusCode.RESOURCE_EXHAUSTED, "out of memory")
    refused = pools.move("gpu")
    assert (refused.status_code, "out of memory" in refused.json["error"]) == (httpx.codes.CONFLICT, True), refused.json
    assert read_rollout(pools.store, HALF_PLUS).placement == Placement()
    assert HALF_PLUS not in read_entries(pools.store, "gpu")
    assert predict(pools.client) == 2


def test_a_pool_whose_answers_differ_gets_no_request(pools: TwoPools) -> None:
    """As with a promotion: a graph that computes otherwise on another device is found before anybody is answered."""
    pools.gpu.functions[HALF_PLUS] = lambda inputs: {"value": inputs["vectors"] + 7}
    refused = pools.move("gpu")
    assert (refused.status_code, "differ from training" in refused.json["error"]) == (httpx.codes.CONFLICT, True)
    assert (predict(pools.client), read_rollout(pools.store, HALF_PLUS).placement) == (2, Placement())


def test_a_pool_that_nobody_named_is_refused_with_the_one_that_is_meant(pools: TwoPools) -> None:
    """400, not a model that answers nowhere."""
    refused = pools.move("gup")
    assert (refused.status_code, refused.json["error"]) == (400, "unknown pool 'gup'; did you mean gpu?")
    assert pools.move("gpu", "nothing").status_code == httpx.codes.NOT_FOUND


def test_a_model_that_does_not_fit_is_not_moved_and_a_version_not_promoted(pools: TwoPools) -> None:
    """With the arithmetic in one sentence; a canary counts beside the stable version."""
    large = publish_golden(pools.plain, pools.store, size=VersionSize(parameters=120 * MB, graph=0, assets=0))
    pools.gpu.loaded.add((HALF_PLUS, large))
    assert pools.client.post(f"{ROUTE}:promote", json={"version": large}).status_code == httpx.codes.OK
    refused = pools.move("gpu")
    assert refused.status_code == httpx.codes.CONFLICT
    assert "pool gpu has 100 MB, none taken" in refused.json["error"]
    assert read_rollout(pools.store, HALF_PLUS).placement == Placement()
    assert pools.client.post(f"{ROUTE}:rollback").status_code == httpx.codes.OK
    assert pools.move("gpu").status_code == httpx.codes.OK
    again = pools.client.post(f"{ROUTE}/rollout", json={"canary": {"version": large}})
    needed, taken = find_memory(pools.store, HALF_PLUS, large), pools.pool("gpu")["taken_mb"]
    said = f"{HALF_PLUS} {large} needs {needed} MB; pool gpu has 100 MB, {taken} MB taken by "
    assert (again.status_code, said in again.json["error"]) == (httpx.codes.CONFLICT, True), again.json
    assert again.json["error"].endswith(f": {needed + taken - 100} MB short")
    now = read_rollout(pools.store, HALF_PLUS)
    assert (now.canary, large in now.loaded) == (None, False)


def test_a_version_whose_spec_names_another_pool_moves_its_model_first(pools: TwoPools) -> None:
    """Stable and canary are in one pool; a person's move stands until the spec names another one again."""
    named = publish_golden(pools.plain, pools.store, pool="gpu")
    pools.gpu.loaded.add((HALF_PLUS, named))
    done = pools.client.post(f"{ROUTE}/rollout", json={"canary": {"version": named}})
    assert (done.status_code, done.json["placement"]["pool"]) == (httpx.codes.OK, "gpu"), done.json
    assert read_entries(pools.store, "gpu")[HALF_PLUS].versions == (1, 2, named)
    assert pools.client.post(f"{ROUTE}:promote", json={"version": named}).status_code == httpx.codes.OK
    assert pools.move("default").status_code == httpx.codes.OK
    following = publish_golden(pools.plain, pools.store, pool="gpu")
    done = pools.client.post(f"{ROUTE}:promote", json={"version": following})
    assert (done.status_code, done.json["placement"]["pool"]) == (httpx.codes.OK, "default"), done.json


def test_a_version_whose_spec_names_an_unknown_pool_is_not_promoted(pools: TwoPools) -> None:
    """Its model answers where it is."""
    version = publish_golden(pools.plain, pools.store, pool="gup")
    refused = pools.client.post(f"{ROUTE}:promote", json={"version": version})
    assert (refused.status_code, "did you mean gpu?" in refused.json["error"]) == (httpx.codes.CONFLICT, True)
    assert predict(pools.client) == 2


def test_a_pool_that_is_away_holds_up_no_model_of_another_one(pools: TwoPools) -> None:
    """The gateway is ready, and says which model does not answer; with both away it is not ready."""
    pools.place(HALF_PLUS, "gpu")
    pools.gpu.__exit__()
    ready = pools.client.get("/readyz")
    assert ready.status_code == httpx.codes.OK, ready.json
    assert any(f"{HALF_PLUS} is in pool gpu" in line for line in ready.json["details"])
    assert pools.client.post(f"/v1/models/{REVIEWS}:predict", json=REVIEW).status_code == httpx.codes.OK
    assert pools.client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]]}).status_code == 503
    assert pools.metric("modelyard_gateway_replica_reachable") == {"default": "1.0", "gpu": "0.0"}
    assert (pools.pool("gpu")["reachable"], pools.pool("default")["reachable"]) == (0, 1)
    pools.plain.__exit__()
    assert pools.client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE


def test_a_circuit_that_is_open_in_one_pool_is_closed_in_the_next(pools: TwoPools) -> None:
    """A model that is moved away from servers that do not answer is answered at once."""
    pools.plain.fail_next(grpc.StatusCode.DEADLINE_EXCEEDED, times=MAX_CONSECUTIVE)
    pools.plain.talks.clear()
    body = {"instances": [[0.0]]}
    for _ in range(MAX_CONSECUTIVE):
        pools.client.post(f"/v1/models/{HALF_PLUS}:predict", json=body)
    said = "does not answer at present"
    wait_until(lambda: said in pools.client.post(f"/v1/models/{HALF_PLUS}:predict", json=body).text, 10, "it is open")
    pools.place(HALF_PLUS, "gpu")
    assert predict(pools.client) == 2


def test_a_gateway_that_was_told_of_no_pools_asks_the_one_it_has(filled: Store, server: FakeModelServer) -> None:
    """A store of a larger system, restored on one machine."""
    change_rollout(filled, HALF_PLUS, lambda now: now.model_copy(update={"placement": Placement(pool="gpu")}))
    ledger_url = f"sqlite:///{new_ledger_file(filled.root.parent / 'ledger.db')}"
    with open_app(GatewaySettings(store=filled.root, serving=(server.address,), ledger_url=ledger_url)) as app:
        assert predict(app.test_client()) == 2


def test_a_pool_that_this_gateway_does_not_know_is_said(pools: TwoPools) -> None:
    """503 and not ready for that model, with the setting that lacks it."""
    pools.place(HALF_PLUS, "huge")
    refused = pools.client.post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[0.0]]})
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    ready = pools.client.get("/readyz").json
    assert any("pool huge" in line for line in ready["details"]), ready


def test_pools_are_listed_with_what_they_have(pools: TwoPools) -> None:
    """Memory where it is stated, and each version with what it takes."""
    pools.place(HALF_PLUS, "gpu")
    found = pools.pool("gpu")
    assert (found["servers"], found["memory_mb"]) == (1, 100)
    assert [(each["model"], each["version"]) for each in found["versions"]] == [(HALF_PLUS, 1), (HALF_PLUS, 2)]
    assert found["taken_mb"] == sum(each["memory_mb"] for each in found["versions"])
    assert (pools.pool("default")["memory_mb"], len(pools.pool("default")["versions"])) == (None, 2)
