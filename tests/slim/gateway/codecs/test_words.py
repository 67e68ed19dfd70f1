"""Common mistakes, and the words that say what to do instead."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded

PNG, JPEG = encoded("PNG"), encoded("JPEG")
GIF = b"GIF89a" + bytes(100)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(20)
IN_BASE64 = base64.b64encode(PNG).decode()
DEFAULT = "application/x-www-form-urlencoded"
"""What curl sends where no header says otherwise."""


def predict(client: FlaskClient, model: str, body: bytes, content_type: str | None) -> tuple[int, Any]:
    answer = client.post(f"/v1/models/{model}:predict", data=body, content_type=content_type)
    return answer.status_code, answer.json


@pytest.mark.parametrize(
    ("model", "content_type", "body"),
    [
        (DIGITS, "image/jpg", JPEG),
        (DIGITS, "image/pjpeg", JPEG),
        (DIGITS, "IMAGE/X-PNG", PNG),
        (REVIEWS, "text/plain; charset=UTF8", b"a good one"),
        (REVIEWS, "text/plain; charset=utf8", b"a good one"),
        (REVIEWS, 'text/plain; charset="UTF-8"', b"a good one"),
        (REVIEWS, "text/plain; charset=ASCII", b"a good one"),
    ],
)
def test_names_in_use_are_understood(shared_client: FlaskClient, model: str, content_type: str, body: bytes) -> None:
    """Though they were never registered."""
    status, answer = predict(shared_client, model, body, content_type)
    assert (status, "label" in answer) == (200, True)


@pytest.mark.parametrize(
    ("model", "content_type", "body", "words"),
    [
        (DIGITS, DEFAULT, PNG, f"received {DEFAULT}, and a body of image/png; send it with the header Content-Type: "),
        (DIGITS, None, JPEG, "and a body of image/jpeg; send it with the header Content-Type: image/jpeg"),
        (DIGITS, "application/json", PNG, "a body of image/png; send it with the header Content-Type: image/png"),
        (DIGITS, "application/octet-stream", PNG, "a body of image/png; send it with the header Content-Type: image/"),
        (DIGITS, "application/octet-stream", b"\x00\x01", "received application/octet-stream"),
        (DIGITS, "image/gif", GIF, "or image/png or image/jpeg or multipart/form-data; received image/gif"),
        (DIGITS, DEFAULT, GIF, "and a body of image/gif"),
        (DIGITS, "application/octet-stream", WEBP, "and a body of image/webp"),
        (REVIEWS, DEFAULT, b"a good one", "received application/x-www-form-urlencoded; send it with the header Conten"),
        (REVIEWS, None, b"a good one", "send it with the header Content-Type: text/plain"),
        (HALF_PLUS, DEFAULT, PNG, "or text/csv; received application/x-www-form-urlencoded, and a body of image/png"),
    ],
)
def test_a_body_under_another_name_is_415_and_says_which_header(
    shared_client: FlaskClient,
    shared_server: FakeModelServer,
    model: str,
    content_type: str | None,
    body: bytes,
    words: str,
) -> None:
    """If the model takes it as it is; never "JSON Parse error"."""
    status, answer = predict(shared_client, model, body, content_type)
    assert (status, shared_server.calls) == (415, [])
    assert words in answer["error"]


@pytest.mark.parametrize("content", [GIF, WEBP, b"%PDF-1.7", b"BM" + bytes(50), b"\x00" * 8 + b"avif"])
def test_other_formats_are_named(shared_client: FlaskClient, content: bytes) -> None:
    """Under the name of one that is taken."""
    status, answer = predict(shared_client, DIGITS, content, "image/png")
    assert status == 400
    assert "expected a PNG or JPEG image, received" in answer["error"]
    assert "something else" not in answer["error"]


@pytest.mark.parametrize(
    "instance", [{"b64": IN_BASE64}, {"images": {"b64": IN_BASE64}}, IN_BASE64, f"data:image/png;base64,{IN_BASE64}"]
)
def test_base64_where_pixels_are_expected_names_the_signature(shared_client: FlaskClient, instance: Any) -> None:
    """The one that takes images as files."""
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", json={"instances": [instance]})
    assert answer.status_code == 400
    assert '"signature_name": "image_bytes"' in (answer.json or {})["error"]


@pytest.mark.parametrize("text", [IN_BASE64, f"data:image/png;base64,{IN_BASE64}"])
def test_base64_as_a_text_says_how_it_is_written(shared_client: FlaskClient, text: str) -> None:
    """A string is its own bytes."""
    body = {"instances": [text], "signature_name": "image_bytes"}
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", json=body)
    assert (answer.status_code, '{"b64": "…"}' in (answer.json or {})["error"]) == (400, True)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "inf", "-inf"])
def test_numbers_that_are_none_are_named(shared_client: FlaskClient, word: str) -> None:
    """On both protocols, by what was written and where."""
    bodies = {
        f"/v1/models/{HALF_PLUS}:predict": f'{{"instances": [[1.0], [{word}]]}}',
        f"/v2/models/{HALF_PLUS}/infer": f'{{"inputs": [{{"data": [{word}]}}]}}',
    }
    for path, body in bodies.items():
        answer = shared_client.post(path, data=body, content_type="application/json")
        assert answer.status_code == 400
        expected = f"expected finite numbers, received {word}, which is not JSON, at offset: {body.index(word)}"
        assert expected in (answer.json or {})["error"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "Invalid value."),
        ('{"instances": [1.0,]}', "Invalid value."),
        ('{"instances": tru}', "Invalid value."),
        ("{1: 2}", "Missing a name for object member."),
        ('{"a": 1,}', "Missing a name for object member."),
        ('{"a" 1}', "Missing a colon after a name of object member."),
        ('{"a": [1] "b": 2}', "Missing a comma or '}' after an object member."),
        ('{"a": [[1] [2]]}', "Missing a comma or ']' after an array element."),
        ('{"a": ["[", 1 2]}', "Missing a comma or ']' after an array element."),
        ('{"a": [1.]}', "Miss fraction part in number."),
        ('{"a": [1e]}', "Miss exponent in number."),
        ('{"a', "Missing a closing quotation mark in string."),
        ('{"a": "\\x"}', "Invalid escape character in string."),
        ('{"a": "\\u00zz"}', "Incorrect hex digit after \\u escape in string."),
        ('{"a": "\n"}', "Invalid encoding in string."),
    ],
)
def test_malformed_json_has_rapidjsons_words(shared_client: FlaskClient, text: str, words: str) -> None:
    """As TensorFlow Serving, with the place."""
    status, answer = predict(shared_client, HALF_PLUS, text.encode(), "application/json")
    assert status == 400
    assert answer["error"].startswith(f"JSON Parse error: {words} at offset: ")


def test_a_byte_order_mark_is_skipped(shared_client: FlaskClient) -> None:
    """As TensorFlow Serving does; some editors put one in front."""
    for content_type in ("application/json", "text/plain", "application/octet-stream"):
        status, answer = predict(shared_client, HALF_PLUS, b'\xef\xbb\xbf{"instances": [[1.0]]}', content_type)
        assert (status, answer) == (200, {"predictions": [[2.5]]})


PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "object": ({"parameters": {"x": {}}}, "parameters.x: expected a string, a number, true or false, received an obj"),
    "list": ({"parameters": {"x": [1]}}, "parameters.x: expected a string, a number, true or false, received a list"),
    "sequence_start": ({"parameters": {"sequence_start": True}}, "parameters.sequence_start: expected none"),
    "sequence_end": ({"parameters": {"sequence_end": 1}}, "parameters.sequence_end: expected none"),
    "sequence_id": ({"parameters": {"sequence_id": "a"}}, "parameters.sequence_id: expected none"),
    "shared memory": ({"parameters": {"shared_memory_byte_size": 4}}, "parameters.shared_memory_byte_size: expected"),
}


@pytest.mark.parametrize(("extra", "words"), PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("place", ["request", "input", "output"])
def test_parameters_that_would_be_ignored_are_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, place: str, extra: dict[str, Any], words: str
) -> None:
    """At every place that has some; those that change nothing are ignored, as the protocol says."""
    tensor: dict[str, Any] = {"name": "vectors", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
    output: dict[str, Any] = {"name": "value"}
    harmless = {"parameters": {"priority": 1, "note": "x", "sequence_start": False, "sequence_id": 0}}

    def body(added: dict[str, Any]) -> dict[str, Any]:
        return {
            "inputs": [tensor | (added if place == "input" else {})],
            "outputs": [output | (added if place == "output" else {})],
        } | (added if place == "request" else {})

    path = f"/v2/models/{HALF_PLUS}/infer"
    assert shared_client.post(path, json=body(harmless)).status_code == 200
    answer = shared_client.post(path, json=body(extra))
    assert (answer.status_code, words in (answer.json or {})["error"]) == (400, True)
    assert len(shared_server.calls) == 1
