"""Two pools of real model servers and a gateway: a model moves from one to the other while clients ask for it."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from modelyard.models.registry.roles.placement import Departure, Placement
from modelyard.models.registry.rollout import Rollout, change_rollout, read_rollout
from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store
from modelyard.pipeline.golden import save_golden
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.ports import free_port
from tests.support.processes import START_S, WAIT_S
from tests.support.programs import running_fork
from tests.support.serving import HOST, MODEL, Served, listens, serves
from tests.support.traffic import more, saw_every_client_again, traffic
from tests.support.versions import SCALARS, seal_as
from tests.support.waiting import wait_until

OTHER = "stays"
FLAGS = ("--model_config_file_poll_wait_seconds=1", "--allow_version_labels_for_unavailable_models=true")


def publish(store: Store, model: str, saved: Path) -> None:
    """A copy of a saved version with its golden answers; stable."""
    with store.staging(model) as staged:
        shutil.copytree(saved, staged, dirs_exist_ok=True)
        (staged / "assets.extra").mkdir(exist_ok=True)
        x = np.arange(3, dtype=np.float32)
        save_golden(staged, {"serving_default/x": x, "serving_default/y": x / 2 + int(saved.name)})
        version = store.publish(staged, seal_as(model, signatures=SCALARS)).version
    change_rollout(store, model, lambda now: now.promote(version, by="test", reason="it is there"))


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """Two models in the default pool; of one of them a version before is kept."""
    store = Store(tmp_path / "store")
    store.prepare()
    for model, version in ((OTHER, 1), (MODEL, 1), (MODEL, 2)):
        publish(store, model, made / MODEL / str(version))
    prepare_config(store, ("gpu",))
    return store


@pytest.fixture
def ports() -> tuple[int, int]:
    """Of the default pool's server, and of the other's."""
    return free_port(), free_port()


@pytest.fixture
def served(store: Store, ports: tuple[int, int], tmp_path: Path, forks: ForkServer) -> Iterator[Served]:
    port, (plain, gpu) = free_port(), ports
    variables = {
        "MODELYARD_PORT": str(port),
        "MODELYARD_STORE": str(store.root),
        "MODELYARD_SERVING": f"{HOST}:{plain}",
        "MODELYARD_SERVING_POOLS": f'{{"gpu": "{HOST}:{gpu}"}}',
    }
    with ExitStack() as stack:
        for number, file in ((plain, "models.config"), (gpu, "models.gpu.config")):
            command = (f"--port={number}", f"--model_config_file={store.root / file}", *FLAGS)
            stack.enter_context(running_fork(forks, tmp_path / f"{file}.log", "modelserver", *command))
        gateway = stack.enter_context(running_fork(forks, tmp_path / "gateway.log", "gateway", **variables))
        http = stack.enter_context(httpx.Client(timeout=30, trust_env=False))
        loaded = ((MODEL, 1), (MODEL, 2), (OTHER, 1))
        wait_until(lambda: listens(port) and all(serves(plain, *each) for each in loaded), START_S, "it serves")
        yield Served(f"http://{HOST}:{port}", plain, gateway, http)


def forget_departure(now: Rollout) -> Rollout:
    """As a minute later."""
    assert now.placement.leaving
    gone = Departure(pool=now.placement.leaving.pool, since=now.placement.leaving.since.replace(year=2020))
    return now.model_copy(update={"placement": Placement(pool=now.placement.pool, leaving=gone)})


def test_a_model_moves_under_load_without_a_lost_request(served: Served, store: Store, ports: tuple[int, int]) -> None:
    """There and back again: each answer is right, none is refused, late or lost, also once the old pool unloads it."""
    plain, gpu = ports
    assert not serves(gpu, MODEL), "the other pool loads what nobody placed there"
    with traffic(served.url, MODEL, pinned=1) as seen:
        wait_until(more(seen), WAIT_S, "answers of the default pool")
        for pool, left in (("gpu", plain), ("default", gpu)):
            moved = served.post(f"/api/models/{MODEL}:move", json={"pool": pool, "reason": "a drill"})
            assert (moved.status_code, moved.json().get("placement", {}).get("pool")) == (200, pool), moved.text
            assert serves(plain, MODEL), "each pool keeps it for a while"
            assert serves(gpu, MODEL), "each pool keeps it for a while"
            wait_until(saw_every_client_again(seen), WAIT_S, "whatever was on its way is answered")
            change_rollout(store, MODEL, forget_departure)
            wait_until(lambda left=left: not serves(left, MODEL), WAIT_S, "the old pool has unloaded it")
            wait_until(more(seen, 40), WAIT_S, f"answers of the pool {pool}")
    assert (seen.wrong, seen.failed, seen.refused, seen.late) == ([], [], [], [])
    assert set(seen.versions) == {1, 2}
    assert read_rollout(store, MODEL).placement.pool == "default"
    assert not serves(gpu, OTHER)
    assert served.predict(OTHER, [2.0]).json() == {"predictions": [2.0]}
