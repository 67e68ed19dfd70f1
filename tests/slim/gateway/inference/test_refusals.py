"""Images, texts, sizes, types and paths that are refused, saying what was expected and what came."""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from PIL import Image

from modelyard.models.registry.store import Store
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded, publish
from tests.support.named_models import CHURN, serve

ROW = [[1.0]]


def noise_jpeg() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((200, 200), 90).save(file, "JPEG")
    return file.getvalue()


def make_png(width: int, height: int, checksum: int | None = None, *, pixels: bool = True) -> bytes:
    """A header of a grey image of eight bits, and as many bytes of its pixels as are looked at: none that decode."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    sent = zlib.crc32(header) if checksum is None else checksum
    start = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d" + header + sent.to_bytes(4, "big")
    end = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
    return start + (b"\x00\x00\x00\x10IDAT" + bytes(20) if pixels else b"") + end


def huge_png() -> bytes:
    """A header that promises 900 million pixels, and nothing behind it."""
    return make_png(30_000, 30_000, pixels=False)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a PNG or JPEG image, received 0 bytes"),
        (b"GIF89a" + bytes(100), "expected a PNG or JPEG image, received 106 bytes of image/gif"),
        (encoded("PNG")[:20], "header is damaged or cut off"),
        (encoded("PNG")[:-20], "the image is cut off"),
        (make_png(8, 8)[:50], "the image is cut off"),
        (make_png(8, 8, checksum=1), "header is damaged or cut off"),
        (make_png(0, 8), "header is damaged or cut off"),
        (noise_jpeg()[:100], "header is damaged or cut off"),
        (noise_jpeg()[:-2000], "the image is cut off"),
        (b"\x89PNG\r\n\x1a\n" + bytes(1000), "header is damaged or cut off"),
        (b"\xff\xd8\xff" + bytes(1000), "header is damaged or cut off"),
        (make_png(30_000, 30_000), "expected at most 1000000 pixels, received 30000 x 30000"),
        (huge_png(), "expected at most 1000000 pixels, received 30000 x 30000"),
        (encoded("PNG", (1001, 1000)), "expected at most 1000000 pixels, received 1001 x 1000"),
    ],
)
def test_images_that_cannot_be_used_are_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, content: bytes, text: str
) -> None:
    """Found out from the header; nothing is decoded, and the model server is never called."""
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", data=content, content_type="image/png")
    assert answer.status_code == 400
    assert answer.json is not None
    assert text in answer.json["error"]
    assert shared_server.calls == []


def test_a_cmyk_jpeg_is_passed_on(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """The graph makes colour of it."""
    file = io.BytesIO()
    Image.new("CMYK", (28, 28)).save(file, "JPEG")
    shared_client.post(f"/v1/models/{DIGITS}:predict", data=file.getvalue(), content_type="image/jpeg")
    assert len(shared_server.calls) == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "received an empty one"),
        (b"caf\xe9", "expected UTF-8, received byte 0xe9 at position 3"),
        (b"x" * 100_000, "expected at most 20000 characters, received 100000"),
    ],
)
def test_texts_that_cannot_be_used_are_400(shared_client: FlaskClient, content: bytes, text: str) -> None:
    """The same limits as in JSON."""
    answer = shared_client.post(f"/v1/models/{REVIEWS}:predict", data=content, content_type="text/plain")
    assert answer.status_code == 400
    assert answer.json is not None
    assert text in answer.json["error"]


IMAGES = "application/json or application/jsonl or image/png or image/jpeg or multipart/form-data;"
TEXTS = "application/json or application/jsonl or text/plain or multipart/form-data;"
VECTORS = "application/json or application/jsonl or text/csv;"


@pytest.mark.parametrize(
    ("model", "content_type", "accepted"),
    [
        (DIGITS, "text/plain", IMAGES),
        (DIGITS, "image/gif", IMAGES),
        (DIGITS, "text/csv", IMAGES),
        (REVIEWS, "image/png", TEXTS),
        (REVIEWS, "text/plain; charset=latin-1", "charset utf-8"),
        (HALF_PLUS, "text/plain", VECTORS),
        (HALF_PLUS, "multipart/form-data; boundary=x", VECTORS),
        (HALF_PLUS, "application/x-python-pickle", VECTORS),
    ],
)
def test_other_content_types_are_415(shared_client: FlaskClient, model: str, content_type: str, accepted: str) -> None:
    """And the answer says which are taken."""
    answer = shared_client.post(f"/v1/models/{model}:predict", data=b"x", content_type=content_type)
    assert answer.status_code == 415
    assert answer.json is not None
    assert accepted in answer.json["error"]


def test_a_model_with_named_inputs_names_them(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Whoever sends it a text, or a picture, does not know what it takes."""
    serve(filled, server, CHURN)
    for content_type in ("text/plain", "image/png"):
        answer = client.post(f"/v1/models/{CHURN}:predict", data=b"x", content_type=content_type)
        assert answer.status_code == 415
        assert answer.json is not None
        assert "text/csv, with age, plan, tenure_months (may be missing), city" in answer.json["error"]
        assert answer.json["error"].endswith(f"received {content_type}")


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "text/json", "application/octet-stream"])
def test_json_by_another_name_is_still_json(shared_client: FlaskClient, content_type: str) -> None:
    """A page's ``fetch`` calls it text; TensorFlow Serving never reads the content type."""
    body = b' {"instances": [[1.0]]}'
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, content_type=content_type)
    assert answer.json == {"predictions": [[2.5]]}


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("x-gzip", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("Deflate", zlib.compress),
        ("identity", bytes),
        ("Identity", bytes),
        ("", bytes),
    ],
)
def test_bodies_are_inflated_in_every_encoding(
    shared_client: FlaskClient, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """As TensorFlow Serving does for gzip; a name's case does not matter, and `identity` is no encoding."""
    body = pack(orjson.dumps({"instances": ROW}))
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json) == (200, {"predictions": [[2.5]]})


@pytest.mark.parametrize(
    ("encoding", "body", "status", "text"),
    [
        ("br", b"x", 415, "expected Content-Encoding gzip, deflate or identity, received br"),
        ("gzip, gzip", b"x", 415, "received gzip, gzip"),
        ("gzip", b"not gzip at all", 400, "expected a gzip body"),
        ("gzip", gzip.compress(b"{}" * 100)[:20], 400, "breaks off"),
        ("gzip", gzip.compress(b" " * 100_000_000), 413, "unfolds to more"),
    ],
    ids=["unknown", "twice", "damaged", "short", "bomb"],
)
def test_other_damaged_and_exploding_encodings_are_refused(
    shared_client: FlaskClient, encoding: str, body: bytes, status: int, text: str
) -> None:
    """97 kB that unfold to 100 MB are never unfolded past the limit."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, text in answer.json["error"]) == (status, True)


@pytest.mark.parametrize(
    ("model", "content_type", "setting", "most"),
    [
        (HALF_PLUS, "application/json", "MAX_JSON_BYTES", 8_388_608),
        (REVIEWS, "text/plain", "MAX_JSON_BYTES", 8_388_608),
        (DIGITS, "image/png", "MAX_IMAGE_BYTES", 2_097_152),
    ],
)
def test_bodies_over_the_limit_are_413(
    shared_client: FlaskClient, model: str, content_type: str, setting: str, most: int
) -> None:
    """With the setting that says so, and before anything is parsed."""
    answer = shared_client.post(f"/v1/models/{model}:predict", data=b"x" * (most + 1), content_type=content_type)
    assert answer.status_code == 413
    expected = f"expected a body of at most {most} bytes, received {most + 1}"
    assert answer.json == {"error": f"{expected}; MODELYARD_{setting} sets this limit"}


class Endless(io.BytesIO):
    """A body without an end; counts what was taken from it."""

    given = 0

    def readinto(self, buffer: Any) -> int:
        self.given += len(buffer)
        buffer[:] = b" " * len(buffer)
        return len(buffer)


def test_bodies_of_unknown_length_are_read_up_to_the_limit(shared_client: FlaskClient) -> None:
    """A chunked body that never ends is 413 after little more than the limit."""
    body = Endless()
    answer = shared_client.post(
        f"/v1/models/{HALF_PLUS}:predict",
        input_stream=body,
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert answer.status_code == 413
    assert answer.json is not None
    assert "expected a body of at most 8388608 bytes, received more" in answer.json["error"]
    assert body.given < 2 * 8_388_608


def test_a_body_shorter_than_announced_is_400(shared_client: FlaskClient) -> None:
    """Half a text is not a text."""
    answer = shared_client.post(
        f"/v1/models/{REVIEWS}:predict",
        input_stream=io.BytesIO(b"not"),
        content_type="text/plain",
        environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": "8"},
    )
    assert (answer.status_code, answer.json) == (400, {"error": "expected a body of 8 bytes as announced, received 3"})


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("nothing_here", "Latest(nothing_here)"),
        ("..", "Latest(..)"),
        ("Digits", "Latest(Digits)"),
        ("caf%C3%A9", "Latest(café)"),
        (f"{HALF_PLUS}/versions/5", "Specific(half_plus, 5)"),
        (f"{HALF_PLUS}/versions/0", "Specific(half_plus, 0)"),
        (f"{HALF_PLUS}/versions/{2**63 - 1}", f"Specific(half_plus, {2**63 - 1})"),
        (f"{HALF_PLUS}/versions/{'0' * 30}7", "Specific(half_plus, 7)"),
    ],
)
def test_unknown_models_and_versions_are_404(shared_client: FlaskClient, path: str, wanted: str) -> None:
    """In TensorFlow Serving's words."""
    answer = shared_client.post(f"/v1/models/{path}:predict", json={"instances": ROW})
    assert (answer.status_code, answer.json) == (404, {"error": f"Servable not found for request: {wanted}"})


def test_a_model_without_a_stable_version_says_so(client: FlaskClient, filled: Any) -> None:
    """It exists, but nothing was promoted: 404 with the reason."""
    publish(filled, "fresh", stable=False)
    answer = client.post("/v1/models/fresh:predict", json={"instances": ROW})
    assert (answer.status_code, answer.json) == (
        404,
        {"error": "Servable not found for request: Latest(fresh); no version of it is stable yet"},
    )


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v3/models", "/api/nothing"])
def test_unknown_routes_are_404(shared_client: FlaskClient, path: str) -> None:
    """In the one form of errors, with a way out."""
    answer = shared_client.get(path)
    assert answer.status_code == 404
    assert answer.json is not None
    assert answer.json["error"].startswith(f"no such route: GET {path}")


def test_a_wrong_method_of_our_own_routes_is_405_with_the_right_ones(shared_client: FlaskClient) -> None:
    """``Allow`` and the text name them."""
    answer = shared_client.delete("/api/models")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.json == {"error": "DELETE is not allowed here; expected GET, HEAD, OPTIONS"}
