"""What goes wrong behind the gateway: the model server is away, late, or answers nonsense."""

import asyncio

import grpc
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient

from modelyard.models.registry.rollout import change_rollout
from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.deadline import Deadline
from modelyard.services.gateway.metrics import Metrics
from modelyard.services.gateway.serving.batching.calls import Target
from modelyard.services.gateway.serving.circuit_breaker import MAX_CONSECUTIVE
from modelyard.services.gateway.serving.servers.grpc_replica import GrpcReplica
from modelyard.services.gateway.serving.servers.replicas import AVOID_S, MIN_RETRIES, PredictCall, Replicas
from modelyard.services.gateway.serving.servers.replicas import PREDICT as PREDICT_METHOD
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.slim.conftest import open_app
from tests.support.fakes import DIGITS, HALF_PLUS, FakeModelServer, encoded
from tests.support.waiting import wait_until

PREDICT = f"/v1/models/{HALF_PLUS}:predict"
BODY = {"instances": [[1.0]]}


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_call_to_a_server_that_was_down_for_a_moment_is_retried(
    client: FlaskClient, server: FakeModelServer, code: grpc.StatusCode
) -> None:
    """One retry of UNAVAILABLE, or of a call that a stopping server aborted; the client does not notice."""
    server.fail_next(code)
    assert client.post(PREDICT, json=BODY).status_code == 200
    assert len(server.calls) == 2


def test_a_server_that_stays_away_is_503_with_retry_after(client: FlaskClient, server: FakeModelServer) -> None:
    """Two attempts, no more; the client gets Retry-After, and no internals."""
    server.fail_next(grpc.StatusCode.UNAVAILABLE, "10.0.0.7 refused", times=3)
    answer = client.post(PREDICT, json=BODY)
    assert answer.status_code == 503
    assert answer.json == {"error": "the model server is not available; try again in a moment"}
    assert 1 <= int(answer.headers["Retry-After"]) <= 3
    assert len(server.calls) == 2


def test_no_server_at_all_is_503(filled: Store) -> None:
    """Nobody listens: an answer, at once."""
    client = create_app(GatewaySettings(store=filled.root, serving=("127.0.0.1:9",))).test_client()
    answer = client.post(PREDICT, json=BODY)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


def test_the_next_server_takes_over_when_the_first_is_away(filled: Store, server: FakeModelServer) -> None:
    """Within one request."""
    settings = GatewaySettings(store=filled.root, serving=("127.0.0.1:9", server.address))
    assert create_app(settings).test_client().post(PREDICT, json=BODY).status_code == 200


def test_one_dead_server_of_two_fails_no_prediction(server: FakeModelServer) -> None:
    """However few requests there are: it is tried again each second, and each time the other one answers instead."""
    asked = 10 * MIN_RETRIES
    call = PredictCall(Target(HALF_PLUS, 1, "serving_default"), {"vectors": np.ones((1, 1), np.float32)})

    async def ask() -> None:
        seconds = 0.0
        found = [GrpcReplica(address, lambda: seconds) for address in ("127.0.0.1:9", server.address)]
        both = Replicas(found, Metrics(), clock=lambda: seconds)
        for _ in range(asked):
            seconds += 2 * AVOID_S
            assert await both.call(PREDICT_METHOD, call, Deadline.after(5.0))
        await both.close()

    asyncio.run(ask())
    assert len(server.calls) == asked


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400, "Invalid PNG data, size 50"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429, "queue is full"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "the model server did not answer in time"),
        (grpc.StatusCode.INTERNAL, 500, "the model server failed (INTERNAL)"),
        (grpc.StatusCode.UNIMPLEMENTED, 501, "the model server failed (UNIMPLEMENTED)"),
    ],
)
def test_other_failures_are_passed_on_once(
    client: FlaskClient, server: FakeModelServer, code: grpc.StatusCode, status: int, text: str
) -> None:
    """As TensorFlow Serving maps them; a server's own failure does not show its inside."""
    server.fail_next(code, text if status < 500 else "/srv/model.cc:17 went wrong")
    answer = client.post(PREDICT, json=BODY)
    assert (answer.status_code, answer.json) == (status, {"error": text})
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "noisy",
    [
        "{{function_node __inference_from_bytes_12}} Invalid PNG data\n\t [[{{node map/while/DecodeImage}}]]",
        (
            "Graph execution error:\n\nDetected at node map/DecodeImage defined at (most recent call last):\n"
            "<stack traces unavailable>\nInvalid PNG data\n\t [[{{node map/DecodeImage}}]] [Op:__inference_216]"
        ),
    ],
)
def test_names_of_graph_nodes_are_cut_out(client: FlaskClient, server: FakeModelServer, noisy: str) -> None:
    """A client reads what is wrong with the request, not the names of our graph."""
    server.fail_next(grpc.StatusCode.INVALID_ARGUMENT, noisy)
    assert client.post(PREDICT, json=BODY).json == {"error": "Invalid PNG data"}


def test_a_deadline_ends_a_prediction(client: FlaskClient, server: FakeModelServer) -> None:
    """The client's own deadline holds, and a late call is not retried."""
    assert client.post(PREDICT, json=BODY).status_code == 200  # there is a connection: the next call is sent at once
    server.calls.clear()
    server.release.clear()
    answer = client.post(PREDICT, json=BODY, headers={"X-Timeout-Ms": "2000"})
    assert (answer.status_code, len(server.calls)) == (504, 1)


def test_no_model_runs_when_the_deadline_has_passed(client: FlaskClient, server: FakeModelServer) -> None:
    """One millisecond is not enough to get there."""
    assert client.post(PREDICT, json=BODY, headers={"X-Timeout-Ms": "1"}).status_code == 504
    assert server.calls == []


@pytest.mark.parametrize("header", ["0", "-1", "1.5", "soon", "", "\u0661"])
def test_a_deadline_that_is_no_number_is_refused(client: FlaskClient, header: str) -> None:
    """Silently waiting the default time would surprise."""
    sent = header.encode().decode("latin-1")  # as a server hands it on
    answer = client.post(PREDICT, json=BODY, headers={"X-Timeout-Ms": sent})
    assert answer.status_code == 400


def test_a_deadline_beyond_the_longest_is_cut(client: FlaskClient) -> None:
    """Also one that would not fit any number type."""
    assert client.post(PREDICT, json=BODY, headers={"X-Timeout-Ms": "9" * 40}).status_code == 200


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"value": np.array([[np.nan]], np.float32)}, "not finite"),
        ({"value": np.array([[np.inf]], np.float32)}, "not finite"),
        ({"value": np.array([1.0], np.float32)}, "expected float32 [n,1] from the model, received float32 [1]"),
        ({"value": np.array([[1.0]], np.float64)}, "received float64 [1,1]"),
        ({"other": np.array([[1.0]], np.float32)}, "did not return value"),
    ],
)
def test_nonsense_from_the_model_is_a_typed_error(
    client: FlaskClient, server: FakeModelServer, outputs: dict[str, np.ndarray], text: str
) -> None:
    """Never invalid JSON, never null in place of a number."""
    server.outputs = outputs
    answer = client.post(PREDICT, json=BODY)
    assert answer.status_code == 500
    assert answer.json is not None
    assert text in answer.json["error"]


@pytest.mark.parametrize(
    "outputs",
    [
        {"probabilities": np.array([[0.5, 0.5]], np.float32), "class_id": np.array([2])},
        {"probabilities": np.array([[0.5, 0.2, 0.3]], np.float32), "class_id": np.array([0])},
        {"probabilities": np.zeros((0, 2), np.float32), "class_id": np.array([], np.int64)},
    ],
)
def test_classes_without_a_label_are_a_typed_error(
    client: FlaskClient, server: FakeModelServer, outputs: dict[str, np.ndarray]
) -> None:
    """The manifest names two labels."""
    server.outputs = outputs
    answer = client.post(f"/v1/models/{DIGITS}:predict", data=encoded("PNG"), content_type="image/png")
    assert answer.status_code == 500
    assert "from the model" in answer.get_data(as_text=True) or "did not return" in answer.get_data(as_text=True)


def test_a_mistake_of_ours_shows_only_an_id(app: Flask) -> None:
    """The client gets an id to quote; the traceback is in the log alone."""

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("/secret/path")

    answer = app.test_client().get("/broken", headers={"X-Request-Id": "id-1"})
    assert (answer.status_code, answer.json) == (500, {"error": "internal error, request id id-1"})


def test_a_version_that_nobody_wants_loaded_is_404(client: FlaskClient, server: FakeModelServer, filled: Store) -> None:
    """In the server's words: it is in the store, but the rollout has let go of it."""
    change_rollout(filled, HALF_PLUS, lambda now: now.promote(2, by="t", reason="r").promote(3, by="t", reason="r"))
    server.loaded.discard((HALF_PLUS, 1))
    answer = client.post(f"/v1/models/{HALF_PLUS}/versions/1:predict", json=BODY)
    assert (answer.status_code, answer.json) == (
        404,
        {"error": f"Servable not found for request: Specific({HALF_PLUS}, 1)"},
    )


def test_a_server_that_has_yet_to_load_the_stable_version_is_503(client: FlaskClient, server: FakeModelServer) -> None:
    """It was just restarted: the version exists, so the client gets Retry-After, not 404."""
    server.loaded.discard((HALF_PLUS, 2))
    answer = client.post(PREDICT, json=BODY)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert "version 2 of half_plus is being loaded" in answer.json["error"]


# --- the circuit breaker ----------------------------------------------------------------------------------------------

HURRIED = {"X-Timeout-Ms": "1"}


@pytest.mark.parametrize("timeout_ms", ["1", "30", "200"])
def test_deadlines_of_some_clients_close_nothing_to_the_others(
    client: FlaskClient, server: FakeModelServer, timeout_ms: str
) -> None:
    """However many have a deadline that the model cannot meet: the server is asked, answers, and nothing opens."""
    server.release.clear()
    for _ in range(3 * MAX_CONSECUTIVE):
        assert client.post(PREDICT, json=BODY, headers={"X-Timeout-Ms": timeout_ms}).status_code == 504
    server.release.set()
    answer = client.post(PREDICT, json=BODY)
    assert (answer.status_code, answer.json) == (200, {"predictions": [[2.5]]})
    assert client.get("/readyz").status_code == 200


def test_deadlines_of_clients_open_the_circuit_of_a_server_that_answers_nothing(
    filled: Store, server: FakeModelServer
) -> None:
    """It does not even answer questions about the model; when it does again, nobody has to predict to make it ready."""
    settings = GatewaySettings(store=filled.root, serving=(server.address,), status_timeout_s=0.2)
    with open_app(settings) as app:
        client = app.test_client()
        server.release.clear()
        server.talks.clear()
        wait_until(lambda: "does not answer at present" in client.post(PREDICT, json=BODY, headers=HURRIED).text)
        assert client.get("/readyz").status_code == 503
        server.release.set()
        server.talks.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)
        wait_until(lambda: client.post(PREDICT, json=BODY).status_code == 200)


def test_an_open_circuit_becomes_ready_without_a_prediction(client: FlaskClient, server: FakeModelServer) -> None:
    """A balancer that follows readiness sends none until then."""
    server.fail_next(grpc.StatusCode.UNAVAILABLE, times=2 * MAX_CONSECUTIVE)
    for _ in range(MAX_CONSECUTIVE):
        assert client.post(PREDICT, json=BODY).status_code == 503
    server.failures.clear()
    calls = len(server.calls)
    wait_until(lambda: client.get("/readyz").status_code == 200)
    assert len(server.calls) == calls
    wait_until(lambda: client.post(PREDICT, json=BODY).status_code == 200)
