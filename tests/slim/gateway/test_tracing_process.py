"""A gateway that traces: the spans of its requests, as an OTLP receiver gets them."""

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import pytest

from modelyard.models.registry.store import Store
from tests.support.fakes import HALF_PLUS, FakeModelServer
from tests.support.otlp import OtlpReceiver, Received
from tests.support.ports import free_port
from tests.support.slim_programs import gateway, refusal
from tests.support.waiting import wait_until

PREDICT = f"/v1/models/{HALF_PLUS}:predict"
ROUTE = "POST /v1/models/<model:model>:predict"
RPC = "tensorflow.serving.PredictionService/Predict"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
BODY = {"instances": [[1.0]]}


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as running:
        yield running


@contextmanager
def traced(
    store: Store, server: FakeModelServer, receiver: OtlpReceiver, **more: object
) -> Iterator[tuple[Any, httpx.Client]]:
    with gateway(store=store.root, serving=server.address, otlp_endpoint=receiver.url, **more) as found:
        yield found


def predict(client: httpx.Client, parent: str | None = PARENT, **options: Any) -> httpx.Response:
    headers = {**options.pop("headers", {}), **({"traceparent": parent} if parent else {})}
    return client.post(PREDICT, headers=headers, **({"json": BODY} | options))


def read_line(process: Any) -> Mapping[str, Any]:
    """The next line of the log about a request."""
    for text in process.stderr:
        line: Mapping[str, Any] = json.loads(text)
        if line["event"] == "request":
            return line
    raise EOFError


FORMS: Mapping[str, Mapping[str, Any]] = {
    "fast path": {},
    "view": {"content": gzip.compress(json.dumps(BODY).encode()), "headers": {"Content-Encoding": "gzip"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_prediction_is_a_trace_from_its_caller_to_the_model_server(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver, form: str
) -> None:
    """On either way: the request, its wait, its call, and the message, which names its span. No value of the body."""
    with traced(filled, server, receiver) as (process, client):
        answer = predict(client, **FORMS[form])
        assert answer.json() == {"predictions": [[2.5]]}
        assert read_line(process)["trace_id"] == TRACE
        request = receiver.await_span(ROUTE)
    (wait,), (call,), (rpc,) = (receiver.find(name) for name in ("wait for the batch", "model call", RPC))
    assert {span.trace_id for span in (request, wait, call, rpc)} == {TRACE}
    parents = [span.parent_id for span in (request, wait, call, rpc)]
    assert parents == [SPAN, request.span_id, request.span_id, call.span_id]
    assert server.metadata[-1]["traceparent"] == f"00-{TRACE}-{rpc.span_id}-01"
    assert (request.service, request.kind, rpc.kind, wait.kind) == ("gateway", "SERVER", "CLIENT", "INTERNAL")
    assert request.began_ns <= wait.began_ns <= wait.ended_ns <= call.ended_ns <= request.ended_ns
    assert request.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/v1/models/<model:model>:predict",
        "modelyard.model": HALF_PLUS,
        "modelyard.version": 2,
        "modelyard.request.id": answer.headers["X-Request-Id"],
    }
    assert call.attributes == {
        "modelyard.model": HALF_PLUS,
        "modelyard.version": 2,
        "modelyard.signature": "serving_default",
        "modelyard.rows": 1,
        "modelyard.batch.requests": 1,
        "modelyard.batch.rows": 1,
    }
    host, _, port = server.address.rpartition(":")
    assert rpc.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": RPC,
        "rpc.response.status_code": "OK",
        "server.address": host,
        "server.port": int(port),
    }


def test_requests_of_a_batch_share_a_message_that_is_linked_with_each(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    """Two calls in flight, and three requests that wait for one of them; each has a trace of its own."""
    server.release.clear()
    parents = [f"00-{number:032x}-{SPAN}-01" for number in range(1, 6)]
    with traced(filled, server, receiver) as (_, client), ThreadPoolExecutor(5) as pool:
        answers = []
        for parent, calls in zip(parents, (1, 2, 2, 2, 2), strict=True):
            answers.append(pool.submit(predict, client, parent))
            wait_until(lambda calls=calls: len(server.calls) == calls, what="calls")
        wait_until(lambda: waiting(client) == 3, what="three that wait")
        server.release.set()
        assert [answer.result().status_code for answer in answers] == [200] * 5
        receiver.await_all(lambda spans: sum(span.name == ROUTE for span in spans) == 5)
    together = {
        span.span_id: span for span in receiver.find("model call") if span.attributes["modelyard.batch.requests"] == 3
    }
    assert len(together) == len({span.trace_id for span in together.values()}) == 3
    (rpc,) = (span for span in receiver.find(RPC) if span.parent_id in together)
    assert {rpc.parent_id, *rpc.links} == together.keys()
    assert sorted(span.links for span in together.values()) == [(), (rpc.span_id,), (rpc.span_id,)]
    assert {span.attributes["modelyard.batch.rows"] for span in together.values()} == {3}


def waiting(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    (line,) = (line for line in lines if line.startswith("modelyard_gateway_waiting_requests "))
    return int(float(line.split()[1]))


def test_a_malformed_parent_begins_a_trace_and_an_unsampled_one_is_obeyed(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    """The model server is told so, too."""
    with traced(filled, server, receiver) as (process, client):
        predict(client, f"{PARENT[:-1]}0")
        assert server.metadata[-1]["traceparent"].split("-")[1::2] == [TRACE, "00"]
        predict(client, "00-nonsense")
        lines = [read_line(process)["trace_id"] for _ in range(2)]
        request = receiver.await_span(ROUTE)
    assert lines == [TRACE, request.trace_id]
    assert request.trace_id != TRACE
    assert request.parent_id == ""
    assert {span.trace_id for span in receiver.spans} == {request.trace_id}


def test_a_share_of_none_records_what_callers_record(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    with traced(filled, server, receiver, trace_share=0) as (_, client):
        predict(client, None)
        assert server.metadata[-1]["traceparent"].endswith("-00")
        predict(client, PARENT)
        receiver.await_span(ROUTE)
    assert {span.trace_id for span in receiver.spans} == {TRACE}


def test_refusals_and_unknown_paths_are_spans_and_probes_are_none(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    with traced(filled, server, receiver, max_json_bytes=100) as (_, client):
        for path in ("/healthz", "/readyz", "/livez", "/metrics"):
            client.get(path)
        assert predict(client, content=b"x" * 101).status_code == 413
        assert client.get("/secrets/of/nobody").status_code == 404
        assert client.request("BREW", "/v1/models").status_code == 400
        receiver.await_all(lambda spans: len(spans) >= 3)
    found = [(span.name, span.attributes["http.response.status_code"], span.failed) for span in receiver.spans]
    assert sorted(found) == [("GET", 404, False), ("HTTP /v1/<rest:rest>", 400, False), (ROUTE, 413, False)]
    assert {span.attributes["http.request.method"] for span in receiver.spans} == {"GET", "POST", "_OTHER"}
    assert not any("nobody" in str(span) or "BREW" in str(span) for span in receiver.spans)


def test_each_try_of_a_call_is_a_span_and_what_failed_says_so(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    """The first is tried again; an internal error is the request's too."""
    with traced(filled, server, receiver) as (_, client):
        server.fail_next(grpc.StatusCode.UNAVAILABLE)
        assert predict(client).status_code == 200
        server.fail_next(grpc.StatusCode.INTERNAL)
        failed = predict(client, f"00-{1:032x}-{SPAN}-01")
        receiver.await_all(lambda spans: sum(span.name == ROUTE for span in spans) == 2)
    codes = [(span.attributes["rpc.response.status_code"], span.failed) for span in receiver.find(RPC, trace_id=TRACE)]
    assert codes == [("UNAVAILABLE", True), ("OK", False)]
    other: list[Received] = [span for span in receiver.spans if span.trace_id != TRACE]
    states = {span.name: span.failed for span in other}
    assert states == {"wait for the batch": False, RPC: True, "model call": True, ROUTE: failed.status_code >= 500}


@pytest.mark.parametrize("ill", ["away", "slow", "500"])
def test_predictions_go_on_whatever_the_receiver_does(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver, ill: str
) -> None:
    """And the gateway ends in time, with what it could not send."""
    url = f"http://127.0.0.1:{free_port()}" if ill == "away" else receiver.url
    if ill == "slow":
        receiver.answers.clear()
    receiver.status = 500
    with gateway(store=filled.root, serving=server.address, otlp_endpoint=url) as (process, client):
        for _ in range(50):
            assert predict(client).json() == {"predictions": [[2.5]]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_what_was_recorded_is_sent_before_the_process_ends(
    filled: Store, server: FakeModelServer, receiver: OtlpReceiver
) -> None:
    with traced(filled, server, receiver) as (process, client):
        predict(client)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert len(receiver.find(ROUTE)) == 1


def test_a_wrong_url_ends_the_start_in_one_line() -> None:
    found = refusal(otlp_endpoint="collector:4317")
    expected = "MODELYARD_OTLP_ENDPOINT: expected http://HOST:PORT or https://HOST:PORT of an OTLP receiver"
    assert (found.returncode, found.stderr.splitlines()) == (1, [expected])


WITHOUT_EXTRA = """
import runpy, sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"{name} is hidden", name=name)

sys.meta_path.insert(0, Hidden())
sys.argv = ["gateway"]
runpy.run_module("modelyard.services.gateway", run_name="__main__")
"""


def test_a_missing_extra_ends_the_start_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("MODELYARD_PORT", str(free_port()))
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "MODELYARD_OTLP_ENDPOINT: expected the packages of the extra tracing with it, which are not installed: "
        "pip install 'modelyard[tracing]'\n"
    )
