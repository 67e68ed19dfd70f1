"""Canaries on real processes: gateway, model server and scheduler; worse ones go, better ones stay, by themselves."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from modelyard.models.registry import rollout
from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout
from modelyard.models.registry.store import Store
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.services.ledger import Ledger
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S
from tests.support.programs import running_fork
from tests.support.serving import HOST, listens
from tests.support.versions import publish_copy
from tests.support.waiting import wait_until

MODEL = "sign"
DECISION_S = 300.0
REQUESTS, ROWS = 10, 8
"""Between two turns of feedback."""
SIGN = {
    "task": "binary",
    "labels": ("negative", "positive"),
    "signatures": {
        "serving_default": SignatureSpec(
            inputs=(TensorSpec(name="x", dtype="float32", shape=(None,)),),
            outputs=(
                TensorSpec(name="class_id", dtype="int64", shape=(None,)),
                TensorSpec(name="probabilities", dtype="float32", shape=(None, 2)),
            ),
        )
    },
}


@dataclass
class CanarySystem:
    """A system without training."""

    store: Store
    http: httpx.Client
    ledger_url: str

    def change(self, **asked: Any) -> httpx.Response:
        return self.http.post(f"/api/models/{MODEL}/rollout", json=asked)

    def now(self) -> Rollout:
        return read_rollout(self.store, MODEL)

    def predict_and_label(self, generator: np.random.Generator) -> None:
        """Requests of numbers in -1..1, and feedback on each row.

        On one row of each request after the other: a check compares what has come since the last one, and learns little
        where all of it is of one version. Then it does not matter how much comes between two looks.
        """
        asked = {self.ask(numbers): numbers for numbers in generator.uniform(-1, 1, (REQUESTS, ROWS)).round(3)}
        for request_id in asked:
            wait_until(partial(self.is_captured, request_id), WAIT_S, "the answer is kept")
        for row in range(ROWS):
            for request_id, numbers in asked.items():
                body = {"request_id": request_id, "row": row, "label": "positive" if numbers[row] > 0 else "negative"}
                assert self.http.post("/api/feedback", json=body).status_code == 201

    def ask(self, numbers: np.ndarray[Any, Any]) -> str:
        """The request's id."""
        answer = self.http.post(f"/v1/models/{MODEL}:predict", json={"inputs": {"x": numbers.tolist()}})
        assert answer.status_code == 200, answer.text
        return answer.headers["X-Request-Id"]

    def is_captured(self, request_id: str) -> bool:
        return self.http.get(f"/api/answers/{request_id}").status_code == httpx.codes.OK

    def await_decision(self) -> Rollout:
        """The rollout once the canary has ended, with answers and feedback until then."""
        generator = np.random.default_rng(0)

        def ended_rollout() -> Rollout | None:
            self.predict_and_label(generator)
            return self.now() if self.now().canary is None else None

        found: Rollout = wait_until(ended_rollout, DECISION_S, "the judge's decision")
        return found


@pytest.fixture(scope="module")
def canary_system(made: Path, forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CanarySystem]:
    """Version 1 is stable and wrong about one number in ten; 2 is wrong about more, 3 about hardly any.

    Each test leaves version 1 stable, and no canary.
    """
    tmp_path = tmp_path_factory.mktemp("canary")
    store = Store(tmp_path / "store")
    for number in (1, 2, 3):
        publish_copy(store, MODEL, made / MODEL / str(number), **SIGN)
    change_rollout(store, MODEL, lambda now: now.promote(1, by="test", reason="first"))
    port, serving_port = free_port(), free_port()
    settings = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(store.root),
        "MODELYARD_SERVING": f"{HOST}:{serving_port}",
        "MODELYARD_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.db",
        "MODELYARD_CAPTURED_MODELS": MODEL,
        "MODELYARD_JUDGE_S": "0.2",
    }
    config = f"--model_config_file={store.root / rollout.CONFIG}"
    server = (f"--port={serving_port}", config, "--model_config_file_poll_wait_seconds=1")
    with (
        running_fork(forks, tmp_path / "modelserver.log", "modelserver", *server),
        running_fork(forks, tmp_path / "gateway.log", "gateway", **settings),
        running_fork(forks, tmp_path / "scheduler.log", "scheduler", **settings),
        httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60) as http,
    ):
        wait_until(lambda: listens(port) and http.get("/readyz").status_code == 200, START_S, "ready")
        yield CanarySystem(store, http, settings["MODELYARD_LEDGER_URL"])


def test_a_canary_with_perturbed_weights_is_rolled_back_on_feedback(canary_system: CanarySystem) -> None:
    """By analysis that may only end it, with how much worse it was. Other requests get the stable one again."""
    asked = {"version": 2, "steps": [50, 90], "judge": "abort-only"}
    assert canary_system.change(canary=asked, reason="try it").status_code == 200
    rollout = canary_system.await_decision()
    last = rollout.history[-1]
    assert (rollout.stable, last.action, last.version, last.by) == (1, "end canary", 2, "canary analysis")
    assert "feedback finds more mistakes in its answers" in last.reason
    assert last.detail["evidence"]["mistakes"] >= 100
    stable, canary = last.detail["stable"], last.detail["canary"]
    assert canary["mistakes"] / canary["labelled"] > 1.5 * stable["mistakes"] / stable["labelled"]
    evidence = canary_system.http.get(f"/api/models/{MODEL}/canary").json()
    assert (evidence["running"], evidence["outcome"]["action"]) == (False, "end canary")
    assert evidence["path"][-1]["mistakes"] >= 100 > evidence["path"][0]["mistakes"]
    traffic = canary_system.http.get(f"/api/models/{MODEL}/traffic").json()["hour"]
    assert [version["version"] for version in traffic] == [2, 1]
    assert traffic[0]["accuracy"] < traffic[1]["accuracy"]
    assert sum(version["requests"] for version in traffic) >= stable["answers"] + canary["answers"]
    record = canary_system.http.get(f"/api/models/{MODEL}/versions/2").json()
    assert [change["action"] for change in record["changes"]] == ["canary", "end canary"]
    answers = {
        canary_system.http.post(f"/v1/models/{MODEL}:predict", json=BODY).headers["X-Model-Version"] for _ in range(20)
    }
    assert answers == {"1"}


BODY = {"inputs": {"x": [0.5]}}


def test_a_shadow_is_compared_and_no_client_gets_its_outputs(canary_system: CanarySystem) -> None:
    """Disagreement and shift are returned with the rollout."""
    assert canary_system.change(shadow=2).status_code == 200
    generator = np.random.default_rng(0)
    for _ in range(20):
        asked = {"inputs": {"x": generator.uniform(-1, 1, 10).round(3).tolist()}}
        assert canary_system.http.post(f"/v1/models/{MODEL}:predict", json=asked).headers["X-Model-Version"] == "1"

    def shadow_counts() -> dict[str, float] | None:
        observed = canary_system.http.get(f"/api/models/{MODEL}/rollout").json()["observed"] or {}
        found: dict[str, float] = observed.get("shadow", {})
        return found if found.get("rows") == 200 else None

    observed = wait_until(shadow_counts, WAIT_S, "all are compared")
    assert 0.05 < observed["disagreed"] / observed["rows"] < 0.6
    assert observed["shift"] > 0
    assert canary_system.now().stable == 1


def test_a_better_canary_is_promoted_on_feedback(canary_system: CanarySystem) -> None:
    """And can be rolled back as any other."""
    assert canary_system.change(canary={"version": 3, "percent": 50}, shadow=2).status_code == 200
    rollout = canary_system.await_decision()
    last = rollout.history[-1]
    assert (rollout.stable, last.action, last.by) == (3, "promote", "canary analysis")
    assert "feedback finds no more mistakes" in last.reason
    assert last.detail["evidence"]["fit"] >= 20
    with closing(Ledger(canary_system.ledger_url)) as ledger:
        count = ledger.feedback.count(MODEL)
    assert count >= last.detail["stable"]["labelled"] + last.detail["canary"]["labelled"]
    assert canary_system.http.post(f"/api/models/{MODEL}:rollback").json()["stable"] == 1
