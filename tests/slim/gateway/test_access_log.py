"""Every line that is written while a request is worked on bears its id."""

import asyncio
import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.http.greenlets import EventLoop
from modelyard.services.gateway.limits.rate_limits import RateLimits
from modelyard.services.gateway.limits.shared_buckets import SharedBuckets
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.server.rsgi import RsgiApp
from modelyard.services.gateway.serving.batching.batcher import Batcher
from modelyard.services.gateway.serving.batching.calls import Inputs, Outputs, Target
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.logs import REQUEST_IDS, bind_request
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.slim_programs import GatewayProcess, gateway

TENSORS = {"inputs": [{"name": "vectors", "shape": [1, 1], "datatype": "FP32", "data": [0.0]}]}
WAYS = {
    "fast": (f"/v1/models/{HALF_PLUS}:predict", {"instances": [[1.0]]}, {}),
    "view": (
        f"/v1/models/{HALF_PLUS}:predict",
        {"instances": [[1.0]]},
        {"Origin": "http://page", "Sec-Fetch-Site": "same-origin"},
    ),
    "infer": (f"/v2/models/{HALF_PLUS}/infer", TENSORS, {}),
    "infer-view": (
        f"/v2/models/{HALF_PLUS}/infer",
        TENSORS,
        {"Origin": "http://page", "Sec-Fetch-Site": "same-origin"},
    ),
    "examples": (f"/v1/models/{HALF_PLUS}:regress", {"examples": [{"x": 1.0}]}, {}),
}


def send(client: httpx.Client, way: str, request_id: str) -> httpx.Response:
    path, body, headers = WAYS[way]
    return client.post(path, json=body, headers={**headers, "X-Request-Id": request_id})


def logged(process: GatewayProcess) -> list[dict[str, Any]]:
    """All lines that a gateway has written, after which it ends."""
    process.terminate()
    assert process.stderr is not None
    return [json.loads(line) for line in process.stderr.read().splitlines()]


def test_a_failure_of_the_model_server_names_the_request(filled: Store, server: FakeModelServer) -> None:
    """In the fast path, the views and both protocols: the line of the failure and the request's own."""
    with gateway(store=filled.root, serving=server.address) as (process, client):
        for way in WAYS:
            server.fail_next(grpc.StatusCode.INTERNAL)
            assert send(client, way, f"id-{way}").status_code == 500
        lines = logged(process)
    for event in ("model server failed", "request"):
        assert [line["request_id"] for line in lines if line["event"] == event] == [f"id-{way}" for way in WAYS]


def test_a_circuit_breaker_that_opens_names_the_request(filled: Store, server: FakeModelServer) -> None:
    """The one whose failure was the last that it took; the one that closes it, too."""
    with gateway(store=filled.root, serving=server.address) as (process, client):
        server.fail_next(grpc.StatusCode.DEADLINE_EXCEEDED, times=5)
        for number in range(5):
            send(client, "fast", f"id-{number}")
        last = 5
        while send(client, "fast", f"id-{last}").status_code != 200:
            last += 1
        lines = logged(process)
    found = {line["event"]: line for line in lines if line["event"].startswith("circuit breaker")}
    assert (found["circuit breaker opened"]["request_id"], found["circuit breaker opened"]["model"]) == (
        "id-4",
        HALF_PLUS,
    )
    assert found["circuit breaker closed"]["request_id"] == f"id-{last}"


class Scope:
    """A request as granian gives it."""

    server, client, scheme, http_version, query_string = "127.0.0.1:80", "127.0.0.1:9", "http", "1.1", ""

    def __init__(self, method: str, path: str, request_id: str) -> None:
        self.method, self.path = method, path
        self.headers = {"x-request-id": request_id}


class Protocol:
    """The other end of one."""

    def response_bytes(self, status: int, _: object, body: bytes) -> None:
        self.answered = (status, body)


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/models/m:predict"), ("GET", "/api/models")])
def test_each_view_has_its_own_request_id(method: str, path: str) -> None:
    """In a greenlet on the loop's thread, and in a thread of its own."""

    async def run() -> list[Any]:
        loop = EventLoop(asyncio.get_running_loop())

        async def other(*_: Any) -> None:
            """No fast path."""

        def view(environ: dict[str, Any], start: Any) -> list[bytes]:
            loop.wait_for(asyncio.sleep(0))
            start("200 OK", [("content-length", "1")])
            return [f"{environ['HTTP_X_REQUEST_ID']} {REQUEST_IDS.get()}".encode()]

        limits = RateLimits(GatewaySettings(), SharedBuckets("redis://127.0.0.1:1"))
        app = RsgiApp(view, GatewaySettings(), loop, other, Metrics(), limits)
        protocols = [Protocol() for _ in range(20)]
        requests = [app.__rsgi__(Scope(method, path, f"id-{n}"), protocol) for n, protocol in enumerate(protocols)]
        await asyncio.gather(*requests)
        return [protocol.answered for protocol in protocols]

    assert asyncio.run(run()) == [(200, f"id-{n} ('id-{n}',)".encode()) for n in range(20)]


def test_a_shared_call_names_all_its_requests() -> None:
    """What goes wrong with a batch is logged with each request in it."""
    seen = []

    async def call(_: Target, inputs: Inputs, __: Deadline) -> Outputs:
        seen.append(REQUEST_IDS.get())
        return Outputs(inputs, 1)

    async def request(batcher: Batcher, request_id: str) -> None:
        bind_request(request_id)
        await batcher.run(Target("m", 1, "s"), {"x": np.zeros((1, 1), np.float32)}, Deadline.after(60))

    async def run() -> None:
        batcher = Batcher(call, 64)
        await asyncio.gather(*(request(batcher, name) for name in "abc"))
        await request(batcher, "d")

    asyncio.run(run())
    assert seen == [("a", "b", "c"), ("d",)]
