"""The model server inside the gateway's process: the loop never waits, and clients are told what gRPC would say."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelyard.models.errors import ModelyardError
from modelyard.models.tfserving.messages import ServingFailed, make_status_request
from modelyard.services.gateway.serving.batching.calls import Target
from modelyard.services.gateway.serving.servers.local_replica import LocalReplica
from modelyard.services.gateway.serving.servers.local_server import NO_DOOR, open_server
from modelyard.services.gateway.serving.servers.replicas import PREDICT, STATUS, PredictCall
from modelyard.services.modelserver.embedded import EmbeddedServer
from modelyard.services.modelserver.settings import Settings
from tests.support.modelserver import Blocking, Store, X, eventually, saved, store
from tests.support.waiting import TIMEOUT_S

__all__ = ["saved", "store"]  # fixtures

QUICK = {"model_config_file_poll_wait_seconds": 0.02, "file_system_poll_wait_seconds": 0.02}
"""Seconds between two looks at configuration and folders."""


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    """A loader whose version 1 answers when it is released."""
    loader = Blocking()
    yield loader
    loader.go.set()


@pytest.fixture
def held(store: Store, blocking: Blocking) -> Iterator[EmbeddedServer]:
    """A server of versions 1, which is held, and 2 of ``m``, with two threads."""
    for version in (1, 2):
        store.put("m", version)
    store.configure(store.entry("m", "all {}"))
    settings = Settings(model_config_file=store.config, grpc_max_threads=2, enable_model_warmup=False, **QUICK)
    server = EmbeddedServer(settings, on_failure=list, start_loader=blocking)
    server.start()
    status = make_status_request("m", 2)
    eventually(lambda: server.get_status(status).model_version_status[0].state == AVAILABLE, "loaded")
    status = make_status_request("m", 1)
    eventually(lambda: server.get_status(status).model_version_status[0].state == AVAILABLE, "loaded")
    yield server
    blocking.go.set()
    server.stop(grace_s=0)


AVAILABLE = 30
"""``ModelVersionStatus.AVAILABLE``."""


def on_loop(server: EmbeddedServer, work: Callable[[LocalReplica], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        replica = LocalReplica(server)
        try:
            return await work(replica)
        finally:
            await replica.close()

    return asyncio.run(run())


def ask(replica: LocalReplica, version: int, timeout_s: float = TIMEOUT_S) -> Awaitable[Any]:
    return replica.call(PREDICT, PredictCall(Target("m", version, ""), {"x": X}), timeout_s)


def test_the_loop_goes_on_while_the_model_runs(held: EmbeddedServer, blocking: Blocking) -> None:
    """Version 1 stands still in a thread; on the loop, version 2 and the states answer meanwhile."""

    async def work(replica: LocalReplica) -> None:
        slow = asyncio.ensure_future(ask(replica, 1))
        await asyncio.to_thread(blocking.running.wait, TIMEOUT_S)
        assert (await ask(replica, 2))["y"].tolist() == (X / 2 + 2).tolist()
        assert (await replica.call(STATUS, make_status_request("m", 1), TIMEOUT_S)).model_version_status
        assert (slow.done(), replica.in_flight) == (False, 1)
        blocking.go.set()
        assert (await slow).version == 1

    on_loop(held, work)


def test_states_are_read_while_every_thread_computes(held: EmbeddedServer, blocking: Blocking) -> None:
    """As over gRPC, where they have threads of their own."""

    async def work(replica: LocalReplica) -> None:
        slow = [asyncio.ensure_future(ask(replica, 1)) for _ in range(5)]
        await asyncio.to_thread(blocking.running.wait, TIMEOUT_S)
        assert (await replica.call(STATUS, make_status_request("m", 2), TIMEOUT_S)).model_version_status
        blocking.go.set()
        assert [each.version for each in await asyncio.gather(*slow)] == [1] * 5

    on_loop(held, work)


def test_a_deadline_ends_the_wait_and_what_has_not_begun_is_never_run(held: EmbeddedServer, blocking: Blocking) -> None:
    """DEADLINE_EXCEEDED at once; the calls behind a model that stands still are dropped."""

    async def work(replica: LocalReplica) -> None:
        outcomes = await asyncio.gather(*(ask(replica, 1, 0.05) for _ in range(6)), return_exceptions=True)
        assert {(each.code, str(each)) for each in outcomes if isinstance(each, ServingFailed)} == {
            (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        }
        assert len(outcomes) == 6
        blocking.go.set()
        assert (await ask(replica, 2)).version == 2
        assert len(blocking.runs) <= 3, "two threads had begun, and version 2"

    on_loop(held, work)


def test_a_cancelled_call_is_not_run(held: EmbeddedServer, blocking: Blocking) -> None:
    """Nobody waits for it any more."""

    async def work(replica: LocalReplica) -> None:
        slow = [asyncio.ensure_future(ask(replica, 1)) for _ in range(2)]
        await asyncio.to_thread(blocking.running.wait, TIMEOUT_S)
        waiting = asyncio.ensure_future(ask(replica, 2))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        blocking.go.set()
        await asyncio.gather(*slow)
        assert (await ask(replica, 2)).version == 2
        assert blocking.runs.count(2) == 1

    on_loop(held, work)


def test_an_unexpected_error_is_opaque(held: EmbeddedServer, blocking: Blocking) -> None:
    """INTERNAL, and no text of the inside; the replica goes on."""

    async def work(replica: LocalReplica) -> None:
        with pytest.raises(ServingFailed, match=r"^Internal error$") as raised:
            await replica.call(PREDICT, PredictCall(Target("m", 2, ""), {"x": np.array([1 + 2j])}), TIMEOUT_S)
        assert raised.value.code is grpc.StatusCode.INTERNAL
        assert (await ask(replica, 2)).version == 2

    del blocking
    on_loop(held, work)


# --- start ------------------------------------------------------------------------------------------------------------


def test_it_starts_only_with_a_door_and_a_configuration(store: Store, tmp_path: Path) -> None:
    """Each refusal says what is missing."""
    store.root.mkdir(parents=True)
    with pytest.raises(ModelyardError) as raised:
        open_server((), store.config, list)
    assert str(raised.value) == NO_DOOR
    door = f"--grpc_socket_path={tmp_path / 's.sock'}"
    with pytest.raises(ModelyardError, match="cannot read model_config_file"):
        open_server((door,), store.config, list)
    with pytest.raises(ModelyardError, match=r"^--strict: only"):
        open_server((door, "--strict"), store.config, list)
    with pytest.raises(SystemExit):
        open_server((door, "--nonsense=1"), store.config, list)


def test_a_library_that_cannot_be_loaded_is_reported_once(store: Store, tmp_path: Path) -> None:
    """The process then ends, as a model server of its own does."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    failed = threading.Event()

    def break_down(_: Settings) -> Any:
        raise OSError("no library")

    settings = Settings(model_config_file=store.config, grpc_socket_path=tmp_path / "s.sock")
    server = EmbeddedServer(settings, on_failure=failed.set, start_loader=break_down)
    server.start()
    assert failed.wait(TIMEOUT_S)
    server.stop(grace_s=0)


def test_what_has_yet_to_be_loaded_is_unavailable(held: EmbeddedServer, blocking: Blocking) -> None:
    """And not NOT_FOUND, which clients do not retry; of a model that nobody configured, it is, once all is loaded."""
    del blocking

    async def work(replica: LocalReplica) -> str:
        call = PredictCall(Target("other", None, ""), {"x": X})
        ends = time.monotonic() + TIMEOUT_S
        while True:
            with pytest.raises(ServingFailed) as raised:
                await replica.call(PREDICT, call, TIMEOUT_S)
            if raised.value.code is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > ends:
                return str(raised.value)
            await asyncio.sleep(0.01)

    assert on_loop(held, work) == "Servable not found for request: Latest(other)"
