"""JSON bodies that are refused: with 400, in one form, saying what was expected, what came, and where."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded

ROW = [[1.0]]
WHITE = [[[255.0]] * 28] * 28


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


JSON_CASES: dict[str, tuple[str, Any, str]] = {
    "too many instances": (HALF_PLUS, {"instances": ROW * 257}, "instances: expected a list of 1 to 256, received 257"),
    "too many inputs": (HALF_PLUS, {"inputs": ROW * 257}, "vectors: expected 1 to 256 inputs, received 257"),
    "empty inputs": (HALF_PLUS, {"inputs": []}, "vectors: expected shape [n,1], received [0]"),
    "shape": (DIGITS, {"inputs": [[[0.0] * 28] * 28] * 2}, "images: expected shape [n,28,28,1], received [2,28,28]"),
    "an empty row": (HALF_PLUS, {"instances": [[1], []]}, "Expecting tensor size: 1 but got: 0"),
    "nothing but an empty row": (HALF_PLUS, {"instances": [[]]}, "vectors: expected shape [n,1], received [1,0]"),
    "bare value": (HALF_PLUS, {"inputs": 1.0}, "vectors: expected shape [n,1], received []"),
    "ragged rows": (
        HALF_PLUS,
        {"instances": [[1.0], [1.0, 2.0]]},
        "vectors[1]: expected a list of 1 as in vectors[0], received a list of 2",
    ),
    "ragged deep inside": (
        DIGITS,
        {"instances": [WHITE, [*WHITE[:27], WHITE[0][:27]]]},
        "images[1][27]: expected a list of 28 as in images[0][0], received a list of 27",
    ),
    "a value among lists": (HALF_PLUS, {"instances": [[1.0], 2.0]}, "vectors[1]: expected a list of 1"),
    "a list among values": (HALF_PLUS, {"instances": [1.0, [2.0]]}, "vectors[1]: expected a value"),
    "bool for a float": (
        HALF_PLUS,
        {"instances": [[1.0], [True]]},
        "vectors[1][0]: expected a float32 value, received true",
    ),
    "null for a float": (HALF_PLUS, {"instances": [[None]]}, "vectors[0][0]: expected a float32 value, received null"),
    "string for a float": (HALF_PLUS, {"instances": [["1.5"]]}, 'expected a float32 value, received "1.5"'),
    "object for a float": (HALF_PLUS, {"instances": [[{"b64": ""}]]}, "expected a float32 value, received an object"),
    "beyond float32": (
        HALF_PLUS,
        {"instances": [[1e39]]},
        "vectors[0][0]: expected a finite float32 value, received 1e+39",
    ),
    "number for a text": (REVIEWS, {"instances": [5]}, 'text[0]: expected a string or {"b64": "…"}, received 5'),
    "bad base64": (REVIEWS, {"instances": [{"b64": "a"}]}, "text[0]: expected standard base64"),
    "urlsafe base64": (REVIEWS, {"instances": [{"b64": "_-8="}]}, "text[0]: expected standard base64"),
    "empty text": (REVIEWS, {"instances": ["good", ""]}, "text[1]: expected a text, received an empty one"),
    "blank text": (REVIEWS, {"instances": [" \n\t"]}, "text[0]: expected a text, received only white space"),
    "long text": (
        REVIEWS,
        {"instances": ["é" * 100_000]},
        "text[0]: expected at most 20000 characters, received 100000",
    ),
    "not UTF-8": (
        REVIEWS,
        {"instances": [b64(b"ok \xff")]},
        "text[0]: expected UTF-8, received byte 0xff at position 3",
    ),
    "string for an image": (
        DIGITS,
        {"instances": ["zero"], "signature_name": "image_bytes"},
        "image_bytes[0]: expected a PNG or JPEG image, received 4 bytes of something else",
    ),
    "second image cut off": (
        DIGITS,
        {"instances": [b64(encoded("PNG")), b64(encoded("PNG")[:-8])], "signature_name": "image_bytes"},
        "image_bytes[1]: the image is cut off",
    ),
    "many large images": (
        DIGITS,
        {"instances": [b64(encoded("PNG", (1000, 1000)))] * 65, "signature_name": "image_bytes"},
        "image_bytes: expected at most 64000000 pixels in all, received 65000000",
    ),
}


@pytest.mark.parametrize(("model", "body", "text"), JSON_CASES.values(), ids=JSON_CASES)
def test_json_that_does_not_fit_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, model: str, body: object, text: str
) -> None:
    """The model server is never called."""
    answer = shared_client.post(f"/v1/models/{model}:predict", json=body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert answer.json.keys() == {"error"}
    assert text in answer.json["error"]
    assert shared_server.calls == []


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b'{"instances": [[1.0]', "JSON Parse error: Missing a comma or ']' after an array element. at offset: 20"),
        (b'{"instances": [[NaN]]}', "expected finite numbers, received NaN, which is not JSON, at offset: 16"),
        (b'{"instances": [[-Infinity]]}', "received -Infinity, which is not JSON, at offset: 16"),
        (b'{"instances": [[1e999]]}', "number is infinity"),
        (b'{"instances": [[1.0]]} x', "unexpected content after document"),
        (b'{"instances": ["\xff"]}', "not valid UTF-8"),
        (b"[" * 500_000, "expected JSON nested at most 32 deep, received 500000"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "expected JSON nested at most 32 deep, received 100000"),
        (b'{"instances": "' + b"[" * 100 + b'"}', "Expecting 'instances' to be an list/array"),
    ],
)
def test_malformed_json_is_400_with_its_place(shared_client: FlaskClient, body: bytes, text: str) -> None:
    """Towers of brackets are counted, not climbed; brackets inside strings do not count."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body)
    assert answer.status_code == 400
    assert answer.json is not None
    assert text in answer.json["error"]
