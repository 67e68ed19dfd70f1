"""Large bodies: what fits by default, what does not and which setting says so, and the memory that they may take."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import ImageLimits, SignatureSpec, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.services.gateway.codecs.json_syntax import measure
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import CLASSES, DIGITS, HALF_PLUS, FakeModelServer, publish
from tests.support.slim_programs import gateway
from tests.support.waiting import wait_until

PHOTOS = "photos"
RANDOM = np.random.default_rng(0)


@pytest.fixture
def photos(filled: Store, server: FakeModelServer) -> str:
    """A model of the pipeline that takes 224 x 224 x 3 pixels."""
    images = TensorSpec(name="images", dtype="float32", shape=(None, 224, 224, 3))
    signatures = {"serving_default": SignatureSpec(inputs=(images,), outputs=CLASSES)}
    limits = ImageLimits(height=224, width=224, max_pixels=1_000_000)
    fields: Any = {"task": "binary", "input": limits, "labels": ("dark", "light"), "signatures": signatures}
    server.loaded.add((PHOTOS, publish(filled, PHOTOS, **fields)))
    return PHOTOS


def write(key: str, values: Any) -> str:
    """As Python's ``json`` writes what ``tolist`` gives: a float32 in the digits of a double."""
    return json.dumps({key: values.tolist()})


@pytest.mark.parametrize("key", ["instances", pytest.param("inputs", marks=pytest.mark.long)])
def test_a_photo_fits(client: FlaskClient, photos: str, key: str) -> None:
    """224 x 224 x 3 of the most digits, 3.2 MB."""
    body = write(key, (255 * RANDOM.random((1, 224, 224, 3))).astype(np.float32))
    assert len(body) > 3_000_000
    answer = client.post(f"/v1/models/{photos}:predict", data=body, content_type="application/json")
    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1")


def test_a_full_batch_of_mnist_fits(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """256 images of 28 x 28 of the most digits, 4.5 MB, on both protocols, and each value arrives."""
    images = (255 * RANDOM.random((256, 28, 28, 1))).astype(np.float32)
    body = write("instances", images)
    assert len(body) > 4_000_000
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", data=body, content_type="application/json")
    assert answer.status_code == 200
    assert shared_server.calls[0].inputs["images"].tensor_content == images.tobytes()
    tensor = {"name": "images", "datatype": "FP32", "shape": [256, 28, 28, 1], "data": images.ravel().tolist()}
    answer = shared_client.post(f"/v2/models/{DIGITS}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200


def test_photos_fit_as_lines(client: FlaskClient, photos: str) -> None:
    """Of the most digits, beside one that is too short."""
    photo = json.dumps((100 * RANDOM.random((224, 224, 3))).astype(np.float32).tolist()).encode()
    lines = b"\n".join([photo, b"[[[1.0]]]", photo])
    answer = client.post(f"/v1/models/{photos}:predict?labels=true", data=lines, content_type="application/jsonl")
    found = [json.loads(line) for line in answer.data.splitlines()]
    assert [entry.get("label", entry.get("line")) for entry in found] == ["dark", 2, "dark"]


MANY = b"0," * 262_144 + b"0"
TENSOR = b'{"inputs": [{"name": "vectors", "datatype": "FP32", "shape": [262145, 1], "data": [%s]}]}'


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        (PREDICT, b'{"instances": [' + MANY + b"]}", "application/json"),
        (PREDICT, b'{"inputs": [' + MANY + b"]}", "application/json"),
        (PREDICT, MANY, "text/csv"),
        (PREDICT.replace("predict", "classify"), b'{"examples": [{"x": [' + MANY + b"]}]}", "application/json"),
        (f"/v2/models/{HALF_PLUS}/infer", TENSOR % MANY, "application/json"),
    ],
    ids=["instances", "inputs", "csv", "examples", "infer"],
)
def test_more_values_than_are_allowed_are_413(
    shared_client: FlaskClient, shared_server: FakeModelServer, path: str, body: bytes, content_type: str
) -> None:
    """Counted before they are parsed; the text names the setting."""
    answer = shared_client.post(path, data=body, content_type=content_type)
    assert answer.json is not None
    assert "expected at most 262144 values, received about 2621" in answer.json["error"]
    assert (answer.status_code, "MODELYARD_MAX_ELEMENTS" in answer.json["error"]) == (413, True)
    assert shared_server.calls == []


def test_commas_and_brackets_in_texts_are_no_values(shared_client: FlaskClient) -> None:
    """A long text is one value, escaped quotation marks or not."""
    text = 'good, [[["quoted"]]] \\ ' * 4_000
    answer = shared_client.post(
        "/v1/models/reviews:predict", json={"instances": [text[:19_000]] * 10, "x": "," * 600_000}
    )
    assert answer.status_code == 200


@contextmanager
def held(client: httpx.Client, body: bytes, server: FakeModelServer) -> Iterator[None]:
    """A request with this body is at the model server."""
    server.release.clear()
    thread = threading.Thread(target=lambda: client.post(PREDICT, content=body))
    thread.start()
    wait_until(server.entered.is_set)
    yield
    server.release.set()
    thread.join()


def test_bodies_of_requests_in_progress_share_a_budget(filled: Store, server: FakeModelServer) -> None:
    """What does not fit beside them is 503 with ``Retry-After``, announced or chunked; what comes later fits."""
    with gateway(store=filled.root, serving=server.address, max_bytes_in_flight=100_000) as (_, client):
        large = b'{"instances": [[1.0]]}' + b" " * 60_000
        with held(client, large, server):
            announced = client.post(PREDICT, content=large)
            chunked = client.post(PREDICT, content=iter([large[:30_000], large[30_000:]]))
            control = client.post("/api/jobs", content=large)
            for answer in (announced, chunked, control):
                assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
                assert "the bodies of requests in progress fill 100000 bytes" in answer.json()["error"]
            assert client.get("/healthz").status_code == 200
        for _ in range(3):
            assert client.post(PREDICT, content=large).json() == {"predictions": [[2.5]]}
            assert client.post(PREDICT, content=b"{" * 90_000).status_code == 400
            assert client.post(PREDICT, content=iter([b" " * 90_000, b" " * 90_000])).status_code == 503


@pytest.mark.parametrize("escapes", [b'\\"', b"\\\\", b'\\\\\\"', b"\\n", b"\\" * 2_097_152])
@pytest.mark.parametrize("shift", [0, 1])
def test_escapes_that_lie_across_blocks_are_understood(escapes: bytes, shift: int) -> None:
    """A large body is measured in blocks of a megabyte; an escaped quotation mark ends no string."""
    text = b'{"a":"' + b"x" * shift + escapes * (2_097_152 // len(escapes)) + b'[[[,:","b":[[1,2]]}'
    assert measure(text) == (3, 5)
