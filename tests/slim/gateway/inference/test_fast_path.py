"""The fast path and the view give equal responses; the header ``Origin`` sends a request to the view."""

import json
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import pytest

from modelyard.models.registry.store import Store
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, fill
from tests.support.slim_programs import gateway

IMAGE = np.arange(784).reshape(28, 28, 1).tolist()
OWN = {"x-request-id", "date"}
"""Headers that differ from answer to answer."""
VIA_VIEW = {"Origin": "http://elsewhere", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return fill(tmp_path_factory.mktemp("paths") / "store")


@pytest.fixture(scope="module")
def model_server(store: Store) -> Iterator[FakeModelServer]:
    with FakeModelServer(store) as running:
        yield running


@pytest.fixture(scope="module")
def client(store: Store, model_server: FakeModelServer) -> Iterator[httpx.Client]:
    with gateway(store=store.root, serving=model_server.address) as (_, client):
        yield client


def post_both_ways(
    client: httpx.Client, path: str, body: bytes, **headers: str
) -> tuple[httpx.Response, httpx.Response]:
    quick = client.post(path, content=body, headers=headers)
    return quick, client.post(path, content=body, headers=headers | VIA_VIEW)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (HALF_PLUS, {"instances": [[1.0]]}),
        (HALF_PLUS, {"instances": [[1], [2.5], [3e2]]}),
        (f"{HALF_PLUS}/versions/1", {"instances": [[1.0]]}),
        (DIGITS, {"instances": [IMAGE]}),
        (DIGITS, {"instances": [IMAGE] * 3}),
        (REVIEWS, {"instances": ["good", "bad \u00e9\u4e2d"]}),
        (REVIEWS, {"instances": [{"b64": "Z29vZA=="}]}),
        (HALF_PLUS, {"inputs": [[1.0]]}),
        (HALF_PLUS, {"instances": [{"vectors": [1.0]}]}),
        (HALF_PLUS, {"instances": [[1.0, 2.0]]}),
        (HALF_PLUS, {"instances": [["a"]]}),
        (HALF_PLUS, {"instances": []}),
        (HALF_PLUS, {"instances": [[0.0]] * 257}),
        (REVIEWS, {"instances": [""]}),
        (REVIEWS, {"instances": ["x" * 20_001]}),
        (REVIEWS, {"instances": ["good", 1]}),
        (REVIEWS, {"instances": "good"}),
        (REVIEWS, {"instances": ["good"], "signature_name": "other"}),
        ("nothing", {"instances": [[1.0]]}),
        (f"{HALF_PLUS}/versions/9", {"instances": [[1.0]]}),
    ],
)
def test_fast_path_and_view_give_equal_responses(client: httpx.Client, model: str, body: object) -> None:
    """Status, headers and every byte of the body; right answers and refusals."""
    quick, view = post_both_ways(client, f"/v1/models/{model}:predict", json.dumps(body).encode())
    assert (quick.status_code, quick.content) == (view.status_code, view.content)
    assert {name: quick.headers[name] for name in quick.headers.keys() - OWN} == {
        name: view.headers[name] for name in view.headers.keys() - OWN
    }


@pytest.mark.parametrize(
    ("model", "content_type", "body"),
    [
        (DIGITS, "image/png", encoded("PNG")),
        (DIGITS, "image/jpeg", encoded("JPEG")),
        (f"{DIGITS}/versions/1", "image/png", encoded("PNG")),
        (DIGITS, "image/png", b""),
        (DIGITS, "image/png", b"no image"),
        (DIGITS, "image/png", encoded("PNG", (1200, 1200))),
        (DIGITS, "text/plain", b"good"),
        (REVIEWS, "text/plain", b"good"),
        (REVIEWS, "text/plain", b""),
        (REVIEWS, "text/plain", b"\xff"),
        (REVIEWS, "text/plain", b"x" * 20_001),
        (REVIEWS, "text/plain; charset=latin-1", b"good"),
        (REVIEWS, "image/png", encoded("PNG")),
        (HALF_PLUS, "text/plain", b"good"),
    ],
    ids=[
        "png", "jpeg", "pinned", "empty-image", "no-image", "many-pixels", "text-to-images", "text", "empty-text",
        "not-utf8", "long-text", "charset", "image-to-texts", "text-to-vectors",
    ],
)  # fmt: skip
def test_fast_path_and_view_give_equal_responses_to_raw_bodies(
    client: httpx.Client, model: str, content_type: str, body: bytes
) -> None:
    """One image or text as it is."""
    headers = {"Content-Type": content_type, "X-Request-Id": "same"}
    quick, view = post_both_ways(client, f"/v1/models/{model}:predict", body, **headers)
    assert (quick.status_code, quick.content) == (view.status_code, view.content)
    assert quick.headers.keys() == view.headers.keys()


def tensor(name: str, datatype: str, shape: list[int], **more: object) -> dict[str, object]:
    """An input of the Open Inference Protocol."""
    return {"name": name, "datatype": datatype, "shape": shape, **more}


def binary(head: dict[str, object], content: bytes) -> tuple[bytes, dict[str, str]]:
    """Body and header of the binary extension."""
    text = json.dumps(head).encode()
    return text + content, {"Inference-Header-Content-Length": str(len(text))}


VECTOR = tensor("vectors", "FP32", [2, 1])
FOUR = {"parameters": {"binary_data_size": 8}}
NUMBERS = np.array([1, 2.5], "<f4").tobytes()


@pytest.mark.parametrize(
    ("model", "body", "headers"),
    [
        (HALF_PLUS, json.dumps({"id": "7", "inputs": [VECTOR | {"data": [1.0, 2.5]}]}).encode(), {}),
        (f"{HALF_PLUS}/versions/1", json.dumps({"inputs": [VECTOR | {"data": [[1.0], [2.5]]}]}).encode(), {}),
        (f"{HALF_PLUS}/versions/stable", json.dumps({"inputs": [VECTOR | {"data": [1.0, 2.5]}]}).encode(), {}),
        (HALF_PLUS, *binary({"inputs": [VECTOR | FOUR]}, NUMBERS)),
        (HALF_PLUS, *binary({"inputs": [VECTOR | FOUR], "parameters": {"binary_data_output": True}}, NUMBERS)),
        (HALF_PLUS, NUMBERS, {"Inference-Header-Content-Length": "0"}),
        (REVIEWS, json.dumps({"inputs": [tensor("text", "BYTES", [1], data=["good"])]}).encode(), {}),
        (HALF_PLUS, *binary({"inputs": [VECTOR | FOUR]}, NUMBERS[:7])),
        (HALF_PLUS, NUMBERS, {"Inference-Header-Content-Length": "x"}),
        (HALF_PLUS, NUMBERS, {"Inference-Header-Content-Length": "99"}),
        (HALF_PLUS, json.dumps({"inputs": [VECTOR | {"data": [1.0]}]}).encode(), {}),
        (HALF_PLUS, b"{", {}),
        (f"{HALF_PLUS}/versions/9", b"{}", {}),
        ("nothing", b"{}", {}),
    ],
    ids=[
        "flat", "nested", "label", "binary-in", "binary-both", "raw", "text", "short-tail", "no-length", "long-length",
        "few-values", "malformed", "unknown-version", "unknown-model",
    ],
)  # fmt: skip
def test_fast_path_and_view_give_equal_responses_to_the_open_inference_protocol(
    client: httpx.Client, model: str, body: bytes, headers: dict[str, str]
) -> None:
    quick, view = post_both_ways(client, f"/v2/models/{model}/infer", body, **headers)
    assert (quick.status_code, quick.content) == (view.status_code, view.content)
    assert {name: quick.headers[name] for name in quick.headers.keys() - OWN} == {
        name: view.headers[name] for name in view.headers.keys() - OWN
    }


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE]
)
def test_fast_path_and_view_give_equal_errors(
    client: httpx.Client, model_server: FakeModelServer, code: grpc.StatusCode
) -> None:
    """Retry-After where trying again makes sense."""
    model_server.fail_next(code, times=4 if code is grpc.StatusCode.UNAVAILABLE else 2)
    quick, view = post_both_ways(client, f"/v1/models/{HALF_PLUS}:predict", b'{"instances": [[1.0]]}')
    model_server.failures.clear()
    assert (quick.status_code, quick.content) == (view.status_code, view.content)
    assert ("retry-after" in quick.headers) == ("retry-after" in view.headers) == (code is grpc.StatusCode.UNAVAILABLE)


def test_numbers_that_are_not_finite_are_a_clear_error_in_both(
    client: httpx.Client, model_server: FakeModelServer
) -> None:
    """Never invalid JSON."""
    model_server.outputs = {"value": np.array([[np.nan]], np.float32)}
    quick, view = post_both_ways(client, f"/v1/models/{HALF_PLUS}:predict", b'{"instances": [[1.0]]}')
    model_server.outputs = None
    assert (quick.status_code, quick.content) == (view.status_code, view.content)
    assert "not finite" in quick.json()["error"]


def test_a_request_id_is_returned_and_the_deadline_is_kept(client: httpx.Client) -> None:
    """As in the view."""
    headers = {"X-Request-Id": "mine-1", "X-Timeout-Ms": "2000"}
    quick, view = post_both_ways(client, f"/v1/models/{HALF_PLUS}:predict", b'{"instances": [[1.0]]}', **headers)
    assert quick.headers["x-request-id"] == view.headers["x-request-id"] == "mine-1"
    bad = post_both_ways(
        client, f"/v1/models/{HALF_PLUS}:predict", b'{"instances": [[1.0]]}', **{"X-Timeout-Ms": "soon"}
    )
    assert [answer.status_code for answer in bad] == [400, 400]


def test_fast_path_and_view_are_counted_alike(client: httpx.Client) -> None:
    """Under the route as the view declares it."""
    for model in (HALF_PLUS, f"{HALF_PLUS}/versions/1"):
        post_both_ways(client, f"/v1/models/{model}:predict", b'{"instances": [[1.0]]}')
    counted = [
        line for line in client.get("/metrics").text.splitlines() if line.startswith("modelyard_gateway_requests_total")
    ]
    routes = {line.split('route="')[1].split('"')[0] for line in counted}
    assert {route for route in routes if "predict" in route} == {
        "/v1/models/<model:model>:predict",
        "/v1/models/<model:model>/versions/<version:version>:predict",
    }
