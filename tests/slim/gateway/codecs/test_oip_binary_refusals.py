"""Binary bodies that ``/v2`` refuses, and whatever else is too large, damaged or of no known form."""

from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.manifest import SignatureSpec, TensorSpec
from modelyard.models.registry.store import Store
from modelyard.services.gateway.codecs.oip.request import decode
from modelyard.services.gateway.http.body import HttpRequest
from modelyard.services.gateway.http.errors import BodyTooLarge
from modelyard.services.gateway.serving.interface import Interface
from modelyard.services.gateway.settings import GatewaySettings
from tests.slim.gateway.codecs.test_oip_refusals import FOUR, IMAGE, request_with, sized
from tests.slim.gateway.inference.test_oip import INFER, LENGTH, binary, framed
from tests.support.fakes import DIGITS, HALF_PLUS, KINDS, REVIEWS, FakeModelServer, encoded, publish


def text_of(content: bytes, shape: list[int]) -> dict[str, Any]:
    return {"inputs": [binary("text", "BYTES", shape, content)]}


NAN = np.array([np.nan], "<f4").tobytes()
BINARY_CASES: dict[str, tuple[str, dict[str, Any], bytes, str]] = {
    "size beyond the body": (HALF_PLUS, sized(5), FOUR, "expected at most the 4 bytes that are left"),
    "size negative": (HALF_PLUS, sized(-1), FOUR, "received -1"),
    "size no number": (HALF_PLUS, sized("4"), FOUR, 'received "4"'),
    "size other than the shape's": (HALF_PLUS, sized(3), FOUR, "expected 4 bytes for FP32 [1,1], received 3"),
    "bytes left over": (HALF_PLUS, sized(4), FOUR + b"x", "to fill the body, received 1 bytes more"),
    "data in JSON, bytes behind": (HALF_PLUS, request_with(), FOUR, "to fill the body, received 4 bytes more"),
    "not finite": (HALF_PLUS, sized(4), NAN, "vectors[0][0]: expected a finite number, received nan"),
    "length beyond the body": (REVIEWS, text_of(b"\x05\0\0\0good", [1]), b"\x05\0\0\0good", "1 bytes too few"),
    "second length cut off": (
        REVIEWS,
        text_of(b"\x04\0\0\0goodno", [2]),
        b"\x04\0\0\0goodno",
        "text[1]: expected a length and as many bytes, received 2 bytes too few",
    ),
    "more strings than bytes": (REVIEWS, text_of(b"abcd", [2]), b"abcd", "at least 8 bytes for BYTES [2], received 4"),
    "fewer strings than bytes": (
        REVIEWS,
        text_of(b"\x01\0\0\0ab", [1]),
        b"\x01\0\0\0ab",
        "expected 5 bytes by its lengths, received 6",
    ),
    "not UTF-8": (REVIEWS, text_of(b"\x01\0\0\0\xff", [1]), b"\x01\0\0\0\xff", "expected UTF-8, received byte 0xff"),
}


@pytest.mark.parametrize(("model", "head", "tail", "text"), BINARY_CASES.values(), ids=BINARY_CASES)
def test_binary_data_that_does_not_fit_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, model: str, head: dict[str, Any], tail: bytes, text: str
) -> None:
    """Sizes, lengths and values are checked before the model server is called."""
    answer = shared_client.post(f"/v2/models/{model}/infer", **framed(head, tail))
    assert (answer.status_code, shared_server.calls) == (400, []), answer.json
    assert text in (answer.json or {})["error"]


@pytest.mark.parametrize(
    ("model", "length", "body", "text"),
    [
        (HALF_PLUS, "soon", b"", "expected a number of bytes, received 'soon'"),
        (HALF_PLUS, "-1", b"", "expected a number of bytes, received '-1'"),
        (HALF_PLUS, "3", b"{}", "expected at most the body's 2 bytes, received 3"),
        (HALF_PLUS, "9" * 40, b"{}", "expected at most the body's 2 bytes"),
        (HALF_PLUS, "0", b"12345", "expected a multiple of 4 bytes for FP32 [n,1], received 5"),
        (HALF_PLUS, "0", b"", "vectors: expected 1 to 256 inputs, received 0"),
        (HALF_PLUS, "0", bytes(4 * 257), "vectors: expected 1 to 256 inputs, received 257"),
        (HALF_PLUS, "0", NAN, "expected a finite number"),
        (DIGITS, "0", b"1234", "expected a multiple of 3136 bytes for FP32 [n,28,28,1], received 4"),
        (REVIEWS, "0", b"", "expected a text, received an empty one"),
    ],
)
def test_header_lengths_and_raw_bodies_that_do_not_fit_are_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, model: str, length: str, body: bytes, text: str
) -> None:
    """A length beyond the body, and a body that no shape of the input has."""
    answer = shared_client.post(f"/v2/models/{model}/infer", data=body, headers={LENGTH: length})
    assert (answer.status_code, shared_server.calls) == (400, []), answer.json
    assert text in (answer.json or {})["error"]


def test_types_and_shapes_of_other_models(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """BOOL beyond 0 and 1, half floats in JSON, types without a form, several inputs, several open sizes."""

    def error(signature: SignatureSpec, **sent: Any) -> str:
        version = publish(filled, HALF_PLUS, signatures={"serving_default": signature})
        server.loaded.add((HALF_PLUS, version))
        answer = client.post(f"/v2/models/{HALF_PLUS}/versions/{version}/infer", **sent)
        assert (answer.status_code, server.calls) == (400, []), answer.json
        return str((answer.json or {})["error"])

    def spec(dtype: str, *shape: int | None, name: str = "a") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=shape)

    def takes(*specs: TensorSpec, gives: TensorSpec | None = None) -> SignatureSpec:
        return SignatureSpec(inputs=specs, outputs=(gives or spec("float32", None, name="value"),))

    flag = binary("a", "BOOL", [2], b"\x01\x02")
    half = {"name": "a", "datatype": "FP16", "shape": [1], "data": [1.0]}
    number = {"name": "a", "datatype": "FP32", "shape": [1], "data": [1.0]}
    raw = {"data": b"1234", "headers": {LENGTH: "0"}}
    assert "a[1]: expected a BOOL of 0 or 1, received 2" in error(
        takes(spec("bool", None)), **framed({"inputs": [flag]}, b"\x01\x02")
    )
    assert "FP16 has no JSON form; send it" in error(takes(spec("float16", None)), json={"inputs": [half]})
    assert "FP16 has no JSON form; ask" in error(
        takes(spec("float32", None), gives=spec("float16", None, name="value")), json={"inputs": [number]}
    )
    assert "a has type BF16, for which" in error(takes(spec("DT_BFLOAT16", None)), json={"inputs": [number]})
    assert "inputs: expected a and b, received a" in error(
        takes(spec("float32", None), spec("float32", None, name="b")), json={"inputs": [number]}
    )
    assert "expected JSON with the inputs a and b" in error(
        takes(spec("int8", None), spec("int8", None, name="b")), **raw
    )
    assert "expected a JSON header with its shape, as [n,n]" in error(takes(spec("int8", None, None)), **raw)
    assert "expected 8 bytes for FP64 [1], received 4" in error(takes(spec("float64", 1)), **raw)
    assert "expected [2], received a body for one element" in error(takes(spec("string", 2)), **raw)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b" " * 8_388_609, {}, 413),
        (b" " * 8_388_609, {LENGTH: "8388609"}, 413),
        (bytes(16_777_217), {LENGTH: "2"}, 413),
        (b"x", {"Content-Encoding": "gzip"}, 400),
        (b"x", {"Content-Encoding": "br"}, 415),
    ],
)
def test_bodies_over_the_limits_and_odd_encodings(
    shared_client: FlaskClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    """JSON has the limit of JSON also where binary data may follow it."""
    answer = shared_client.post(INFER, data=body, headers=headers)
    assert (answer.status_code, (answer.json or {}).keys()) == (status, {"error"})


def test_damaged_images_are_400(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """The same checks of images as on ``/v1``."""
    content = encoded("PNG")[:-20]
    framed_content = len(content).to_bytes(4, "little") + content
    head = IMAGE | {"inputs": [binary("image_bytes", "BYTES", [1], framed_content)]}
    answer = shared_client.post(f"/v2/models/{DIGITS}/infer", **framed(head, framed_content))
    assert (answer.status_code, shared_server.calls) == (400, [])
    assert "image_bytes[0]: the image is cut off" in (answer.json or {})["error"]


def test_more_strings_than_json_may_have_values_are_413() -> None:
    """Of a model whose rows are not counted: each is four bytes on the wire, and an object of Python's here."""
    external = Interface("external", 1, KINDS[REVIEWS]["signatures"], None, (), None, batches=False)
    count = GatewaySettings().max_elements + 1
    sent = framed(text_of(bytes(4 * count), [count]), bytes(4 * count))
    headers = {name.lower(): str(value) for name, value in sent["headers"].items()}
    with pytest.raises(BodyTooLarge, match=r"text: expected at most 262144 strings \(MODELYARD_MAX_ELEMENTS\)"):
        decode(HttpRequest(headers, "application/octet-stream", sent["data"]), external, GatewaySettings())
