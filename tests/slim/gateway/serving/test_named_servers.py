"""Model servers behind a name: they come, share the calls, and go, and no prediction fails for it."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from modelyard.models.registry.store import Store
from modelyard.models.tfserving.addresses import Server, find_addresses, list_servers
from modelyard.models.tfserving.messages import ServingFailed
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Target
from modelyard.services.gateway.serving.servers.grpc_replica import GrpcReplica
from modelyard.services.gateway.serving.servers.named_replicas import FRESH_S, STALE_S, NamedReplicas
from modelyard.services.gateway.serving.servers.replicas import PREDICT, PredictCall, Replicas
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from modelyard.services.settings import InvalidSettings
from tests.support.fakes import HALF_PLUS, FakeModelServer

NAME, HOST = "dns:modelserver:8500", "modelserver"
CALL = PredictCall(Target(HALF_PLUS, 1, "serving_default"), {"vectors": np.ones((1, 1), np.float32)})


class Names:
    """What a name server says, and a clock."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = addresses
        self.error: OSError | None = None
        self.asked = 0
        self.seconds = 0.0
        self.metrics = Metrics()
        self.named = NamedReplicas([NAME], self.make, self.find, self.clock)
        self.replicas = Replicas([], self.metrics, self.clock, self.named)

    def make(self, address: str, name: str) -> GrpcReplica:
        assert name == HOST
        return GrpcReplica(address, self.clock)

    def clock(self) -> float:
        return self.seconds

    def find(self, name: str) -> tuple[str, ...]:
        assert name == NAME
        self.asked += 1
        if self.error:
            raise self.error
        return self.addresses

    async def predict(self, times: int = 1) -> None:
        for _ in range(times):
            assert await self.replicas.call(PREDICT, CALL, Deadline.after(5.0))

    async def predict_on(self, *servers: FakeModelServer) -> None:
        """Until each has been called: connections take their time."""
        before = [len(server.calls) for server in servers]
        async with asyncio.timeout(30):
            while not all(len(server.calls) > count for server, count in zip(servers, before, strict=True)):
                await self.predict()

    async def learn(self, *addresses: str) -> None:
        """The name stands for these from now on, and a call that waits for the answer has been made."""
        self.addresses = addresses
        self.seconds += STALE_S
        await self.replicas.call_each(PREDICT, CALL, Deadline.after(5.0))

    def list_addresses(self) -> set[str]:
        """Addresses that have metrics."""
        lines = self.metrics.render().decode().splitlines()
        return {line.split('"')[3] for line in lines if line.startswith("modelyard_gateway_replica_calls{")}


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


@pytest.fixture
def second(filled: Store, server: FakeModelServer) -> Iterator[FakeModelServer]:
    with FakeModelServer(filled) as other:
        other.loaded = server.loaded
        yield other


def test_calls_are_shared_by_all_servers_of_a_name(server: FakeModelServer, second: FakeModelServer) -> None:
    """In turn, even one at a time: many gateways with few calls each use all servers."""
    names = Names(server.address, second.address)

    async def scenario() -> None:
        await names.predict_on(server, second)
        before = (len(server.calls), len(second.calls))
        await names.predict(10)
        assert (len(server.calls), len(second.calls)) == (before[0] + 5, before[1] + 5)
        await names.replicas.close()

    run(scenario)


def test_a_server_that_is_added_gets_calls(server: FakeModelServer, second: FakeModelServer) -> None:
    """Without a failure before it, which gRPC's own resolver would wait for."""
    names = Names(server.address)

    async def scenario() -> None:
        await names.predict(4)
        await names.learn(server.address, second.address)
        await names.predict_on(server, second)
        assert names.list_addresses() == {server.address, second.address}
        await names.replicas.close()

    run(scenario)


def test_a_server_that_is_taken_away_answers_what_it_has(server: FakeModelServer, second: FakeModelServer) -> None:
    """And gets no more; its metrics go with it."""
    names = Names(server.address)

    async def scenario() -> None:
        server.release.clear()
        held = asyncio.create_task(names.predict())
        await asyncio.to_thread(server.entered.wait)
        await names.learn(second.address)
        asked = len(server.calls)
        await names.predict(4)
        assert len(server.calls) == asked
        assert names.list_addresses() == {second.address}
        server.release.set()
        await held
        await names.replicas.close()

    run(scenario)


class Starting:
    """A model server that has one model and not yet the other, so that calls reach it and fail."""

    address, in_flight, avoid_until, calls = "starting", 0, 0.0, 0

    async def call(self, method: str, request: Any, timeout_s: float) -> Any:
        self.calls += 1
        raise ServingFailed(grpc.StatusCode.UNAVAILABLE, f"{method} {timeout_s:.0f} {request is CALL}")

    def was_reached(self) -> bool:
        return True

    def is_connected(self) -> bool:
        return True

    async def close(self, grace_s: float | None = None) -> None:
        assert grace_s is None


def test_a_call_is_repeated_on_another_server(server: FakeModelServer) -> None:
    """Also if the one that failed has answered calls of other models meanwhile."""

    async def scenario() -> None:
        starting = Starting()
        both = Replicas([starting, GrpcReplica(server.address)], Metrics())
        for _ in range(20):
            assert await both.call(PREDICT, CALL, Deadline.after(5.0))
        assert starting.calls
        await both.close()

    run(scenario)
    assert len(server.calls) == 20


def test_an_address_that_nobody_has_holds_no_call_up(server: FakeModelServer) -> None:
    """Its packets are lost, so that a connection is neither made nor refused: others are called meanwhile."""
    with socket.socket() as full:  # a backlog that is full answers nothing
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        lost = "{}:{}".format(*full.getsockname())
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        names = Names(server.address)

        async def scenario() -> None:
            await names.predict()
            await names.learn(lost, server.address)
            asked = len(server.calls)
            await names.predict(20)
            assert len(server.calls) == asked + 20
            await names.replicas.close()

        run(scenario)
        for filler in fillers:
            filler.close()


def test_what_is_known_stays_while_no_name_server_answers(server: FakeModelServer) -> None:
    """Likewise while it says that there is none: a name may be back before a server is."""
    names = Names(server.address)

    async def scenario() -> None:
        await names.predict()
        for addresses, error in (((), None), ((server.address,), socket.gaierror(socket.EAI_AGAIN, "try again"))):
            names.error = error
            await names.learn(*addresses)
            await names.predict(2)
        await names.replicas.close()

    run(scenario)


def test_a_name_of_no_server_is_unavailable(server: FakeModelServer) -> None:
    """Until it stands for one."""
    names = Names()

    async def scenario() -> None:
        with pytest.raises(ServingFailed) as failure:
            await names.predict()
        assert failure.value.code is grpc.StatusCode.UNAVAILABLE
        names.addresses = (server.address,)
        names.seconds += FRESH_S
        await names.predict()
        await names.replicas.close()

    run(scenario)


def test_the_name_server_is_not_asked_for_each_call(server: FakeModelServer) -> None:
    """Once in two seconds at most."""
    names = Names(server.address)

    async def scenario() -> None:
        await names.predict(20)
        assert names.asked == 1
        await names.replicas.close()

    run(scenario)


def test_a_gateway_calls_what_a_name_stands_for(filled: Store, server: FakeModelServer) -> None:
    """By the machine's own resolver."""
    _, _, port = server.address.rpartition(":")
    settings = GatewaySettings(store=filled.root, serving=(f"dns:localhost:{port}",))
    answer = create_app(settings).test_client().post(f"/v1/models/{HALF_PLUS}:predict", json={"instances": [[1.0]]})
    assert answer.status_code == 200


def test_names_are_looked_up_and_other_addresses_kept() -> None:
    """Each server once; an unknown name is no server."""
    assert list_servers(["unix:/run/x.sock", "127.0.0.1:8500", "dns:localhost:8500"]) == (
        Server("unix:/run/x.sock"),
        Server("127.0.0.1:8500"),
    )
    assert list_servers(["dns:localhost:8500"]) == (Server("127.0.0.1:8500", "localhost"),)
    assert find_addresses("dns:nobody.invalid:8500") == ()


@pytest.mark.parametrize(
    "wrong", ["dns:", "dns:modelserver", "dns:modelserver:", "dns:x:0", "dns:///x:1", "dns:x:99999"]
)
def test_a_name_without_host_or_port_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """In words."""
    monkeypatch.setenv("MODELYARD_SERVING", wrong)
    with pytest.raises(InvalidSettings, match="expected dns:HOST:PORT"):
        GatewaySettings.load()
