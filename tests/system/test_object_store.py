"""The model store in a bucket: what one machine trains, another one serves, from a folder that follows the bucket."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from modelyard.models.registry.rollout import read_rollout
from modelyard.models.registry.store import Store
from modelyard.services.ledger import State
from tests.support.ports import free_port
from tests.support.s3 import BreakSome, run_s3
from tests.support.serving import HOST, START_S, WAIT_S, listens, running
from tests.support.training import TrainingCluster
from tests.support.waiting import wait_until

MODEL = "neuron"
BROKEN = 0.05
"""Share of the requests to the bucket that go wrong."""


@dataclass
class Machines:
    """One that trains, and one that serves; they share a bucket, and no folder."""

    trainer: Store
    server: Store
    http: httpx.Client

    def predict(self) -> int | None:
        """The version that answers; None while the bucket's first rollout has not come to this machine."""
        response = self.http.post(f"/v1/models/{MODEL}:predict", json={"instances": [[1.0]]})
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return int(response.raise_for_status().headers["X-Model-Version"])

    def stable(self) -> list[int | None]:
        return [read_rollout(each, MODEL).stable for each in (self.trainer, self.server)]

    def histories(self) -> list[bytes]:
        return [(each.folder(MODEL) / "history.jsonl").read_bytes() for each in (self.trainer, self.server)]


@pytest.fixture
def machines(cluster: TrainingCluster, tmp_path: Path) -> Iterator[Machines]:
    folder, port, serving_port = tmp_path / "server" / "store", free_port(), free_port()
    with run_s3() as s3, ExitStack() as processes:
        common = {**s3.environment, "MODELYARD_STORE_URL": s3.new_bucket(), "MODELYARD_SYNC_S": "0.3"}
        common["MODELYARD_LEDGER_URL"] = cluster.ledger_url
        s3.faults = BreakSome(BROKEN, seed=3)
        here = {**common, "MODELYARD_STORE": str(folder)}
        there = {**common, **cluster.settings, "MODELYARD_SERVING": f"{HOST}:{serving_port}"}
        served = {**here, "MODELYARD_SYNC_SERVED_ONLY": "true"}
        for name, variables in (("server", served), ("trainer", there)):
            processes.enter_context(running(tmp_path / f"sync-{name}.log", "modelyard.services.sync", **variables))
        config = folder / "models.config"
        wait_until(config.exists, START_S, "the first pass")
        serve = ["modelyard.services.modelserver", f"--port={serving_port}", f"--model_config_file={config}"]
        flags = ["--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models=true"]
        processes.enter_context(running(tmp_path / "modelserver.log", *serve, *flags))
        gateway = {**here, "MODELYARD_PORT": str(port), "MODELYARD_SERVING": f"{HOST}:{serving_port}"}
        processes.enter_context(running(tmp_path / "gateway.log", "modelyard.services.gateway", **gateway))
        wait_until(lambda: listens(port) and listens(serving_port), START_S, "listening")
        cluster.worker("one", **there)
        http = processes.enter_context(httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60, trust_env=False))
        yield Machines(Store(cluster.home / "store"), Store(folder), http)


@pytest.mark.long
def test_trained_on_one_machine_served_on_another_promoted_and_rolled_back(
    machines: Machines, cluster: TrainingCluster
) -> None:
    """A version is promoted once the other machine's model server has loaded it, and a rollback there counts here."""
    for version in (1, 2):
        ended = cluster.await_end(cluster.submit(MODEL, rollout="stable"))
        assert ended.state is State.SUCCEEDED, ended.result
        assert ended.result["promotion"]["promoted"], ended.result
        assert ended.result["version"] == version
        wait_until(lambda version=version: machines.predict() == version, WAIT_S, f"version {version} answers")
        machines.server.verify(MODEL, version)
    machines.http.post(f"/api/models/{MODEL}:rollback", json={"reason": "a test"}).raise_for_status()
    assert machines.predict() == 1
    wait_until(lambda: machines.stable() == [1, 1], WAIT_S, "the rollback is everywhere")
    wait_until(lambda: len(set(machines.histories())) == 1, WAIT_S, "both machines have one history")
    assert len(machines.histories()[0].splitlines()) == 3
