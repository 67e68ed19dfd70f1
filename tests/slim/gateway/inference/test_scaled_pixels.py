"""Pixels that were divided already are refused on every way to send numbers, with what helps."""

import struct
from typing import Any

import numpy as np
import orjson
import pytest
from flask.testing import FlaskClient

from tests.support.fakes import DIGITS

PREDICT, INFER = f"/v1/models/{DIGITS}:predict", f"/v2/models/{DIGITS}/infer"
LENGTH = "Inference-Header-Content-Length"
IMAGE = np.arange(784, dtype=np.float32).reshape(28, 28, 1) % 256
SCALED = IMAGE / 255
WRONG = "images[0]: expected pixels 0..255, received values within 0..1: multiply by 255"


def post_json(client: FlaskClient, body: Any) -> Any:
    return client.post(PREDICT, data=orjson.dumps(body), content_type="application/json")


def post_v2(client: FlaskClient, image: Any) -> Any:
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": image.ravel().tolist()}
    return client.post(INFER, json={"inputs": [tensor]})


def post_v2_binary(client: FlaskClient, image: Any) -> Any:
    tensor = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "FP32", "parameters": {"binary_data_size": 3136}}
    head = orjson.dumps({"inputs": [tensor]})
    data = head + struct.pack("<784f", *image.ravel())
    return client.post(INFER, data=data, headers={LENGTH: str(len(head))})


WAYS: dict[str, Any] = {
    "rows": lambda client, image: post_json(client, {"instances": [image.tolist()]}),
    "rows by name": lambda client, image: post_json(client, {"instances": [{"images": image.tolist()}]}),
    "columns": lambda client, image: post_json(client, {"inputs": [image.tolist()]}),
    "labels": lambda client, image: client.post(f"{PREDICT}?labels=true", json={"instances": [image.tolist()]}),
    "v2": post_v2,
    "v2, binary": post_v2_binary,
}


@pytest.mark.parametrize("way", WAYS)
def test_pixels_in_0_to_1_are_refused_with_what_helps(shared_client: FlaskClient, way: str) -> None:
    """The same picture in 0..255 is answered, and so is a black one."""
    refused = WAYS[way](shared_client, SCALED)
    assert refused.status_code == 400
    assert WRONG in refused.json["error"]
    assert WAYS[way](shared_client, IMAGE).status_code == 200
    assert WAYS[way](shared_client, np.zeros_like(IMAGE)).status_code == 200


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (IMAGE / 127.5 - 1, "received values within -1..1: send them as they are"),
        ((IMAGE > 128) * 1.0, "received values within 0..1: multiply by 255"),
    ],
    ids=["from -1 to 1", "black and white as 0 and 1"],
)
def test_other_small_scales_are_refused(shared_client: FlaskClient, image: Any, words: str) -> None:
    assert words in post_json(shared_client, {"instances": [image.tolist()]}).json["error"]


def test_the_one_of_a_batch_is_named(shared_client: FlaskClient) -> None:
    """Between a picture in 0..255 and a black one."""
    body = {"instances": [IMAGE.tolist(), np.zeros_like(IMAGE).tolist(), SCALED.tolist()]}
    assert "images[2]: expected pixels" in post_json(shared_client, body).json["error"]


def test_of_json_lines_only_that_one_is_refused(shared_client: FlaskClient) -> None:
    """The others are answered."""
    lines = b"\n".join(orjson.dumps(image.tolist()) for image in (IMAGE, SCALED, IMAGE))
    answer = shared_client.post(PREDICT, data=lines, content_type="application/jsonl")
    first, second, third = map(orjson.loads, answer.data.splitlines())
    assert WRONG in second["error"]
    assert "error" not in first | third


def test_numbers_that_are_no_pixels_may_be_small(shared_client: FlaskClient) -> None:
    """A vector of 0..1 is nothing unusual."""
    assert shared_client.post("/v1/models/half_plus:predict", json={"instances": [[0.5]]}).status_code == 200
