"""Bodies that are read in a side process: the same answers as for small ones, and none that holds the loop."""

import gzip
import re
from collections.abc import Iterator

import httpx
import pytest

from modelyard.models.registry.store import Store
from modelyard.services.gateway.http.side_process import INLINE_BYTES
from tests.slim.gateway.test_process import PREDICT
from tests.support.fakes import DIGITS, REVIEWS, FakeModelServer, encoded
from tests.support.slim_programs import gateway

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n'
SPACES = b" " * (300 * 1024)


@pytest.fixture(scope="module")
def client(shared_store: Store, shared_server: FakeModelServer) -> Iterator[httpx.Client]:
    with gateway(store=shared_store.root, serving=shared_server.address) as (_, found):
        yield found


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b'{"instances": [[1.0]]' + SPACES + b"}", 200, '{"predictions":[[2.5]]}'),
        (b'{"inputs": [[1.0]]' + SPACES + b"}", 200, '{"outputs":[[2.5]]}'),
        (b'{"instances": [["a"]]' + SPACES + b"}", 400, "expected a float32 value"),
        (SPACES + b"[", 400, "JSON Parse error"),
        (b'{"instances": ["' + b'\\"' * 200_000, 400, "JSON Parse error"),
        (b"[" * 200_000, 400, "nested at most"),
    ],
    ids=["rows", "columns", "wrong", "malformed", "open-string", "deep"],
)
def test_a_large_body_is_answered_as_a_small_one(client: httpx.Client, body: bytes, status: int, text: str) -> None:
    """Predictions and errors, plain and compressed."""
    assert len(body) > INLINE_BYTES
    plain = client.post(PREDICT, content=body)
    packed = client.post(PREDICT, content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (plain.status_code, text in plain.text) == (status, True), plain.text
    assert (packed.status_code, packed.text) == (plain.status_code, plain.text)


def test_large_lines_are_answered_as_small_ones(client: httpx.Client) -> None:
    """In their places, the bad ones alone."""
    lines = b"\n".join([b"[1.0]" + SPACES, b'["a"]' + SPACES, b"[3.0]"])
    answer = client.post(PREDICT, content=lines, headers={"Content-Type": "application/jsonl"})
    first, second, third = answer.text.splitlines()
    assert (first, "expected a float32 value" in second, third) == ("[2.5]", True, "[3.5]")


def test_a_large_form_is_answered_as_a_small_one(client: httpx.Client) -> None:
    """A text that is too long fails alone."""
    body = PART % (b"a", b"good") + PART % (b"b", b"x" * 100_000) + b"--b--\r\n"
    answer = client.post(f"/v1/models/{REVIEWS}:predict", content=body, headers=FORM).json()
    assert [("label" in entry, entry["file"]) for entry in answer] == [(True, "a"), (False, "b")]


@pytest.mark.parametrize(
    "body",
    [
        b"--b\r\nX: " + b"y" * 15_000_000,
        b"--b\r\n" + b"X: y\r\n" * 2_500_000,
        b"-" * 15_000_000,
        PART % (b"a" * 100_000, b"good") + b"--b--\r\n",
    ],
    ids=["one-header", "many-headers", "preamble", "file-name"],
)
def test_a_form_with_long_headers_is_refused_at_once(client: httpx.Client, body: bytes) -> None:
    """They were looked through again with each chunk."""
    answer = client.post(f"/v1/models/{REVIEWS}:predict", content=body, headers=FORM)
    assert (answer.status_code, "malformed multipart/form-data" in answer.text) == (400, True), answer.text
    assert client.post(PREDICT, json={"instances": [[1.0]]}).json() == {"predictions": [[2.5]]}


def test_a_large_image_is_checked_aside(client: httpx.Client) -> None:
    """One with a hundred thousand chunks before its pixels is answered, whatever it is answered."""
    image = encoded("png")
    chunk = b"\0\0\0\0abCd" + bytes.fromhex("c5a3f8c4")
    answer = client.post(
        f"/v1/models/{DIGITS}:predict",
        content=image[:33] + chunk * 150_000 + image[33:],
        headers={"Content-Type": "image/png"},
    )
    assert answer.status_code in {200, 400}


def test_the_longest_hold_is_a_metric(client: httpx.Client) -> None:
    """Which any request sets."""
    client.post(PREDICT, json={"instances": [[1.0]]})
    found = re.search(
        r"^modelyard_gateway_event_loop_longest_hold_seconds (\S+)$", client.get("/metrics").text, re.MULTILINE
    )
    assert found
    assert float(found[1]) > 0


@pytest.mark.parametrize("path", ["/v1/models/" + "a" * 9000, PREDICT + "?" + "a&" * 5000])
def test_a_long_path_or_query_is_414(client: httpx.Client, path: str) -> None:
    """Before it is taken apart."""
    assert client.post(path, json={"instances": [[1.0]]}).status_code == 414


@pytest.mark.parametrize("name", ["Accept", "Cookie", "X-Anything"])
def test_a_long_header_is_431(client: httpx.Client, name: str) -> None:
    """Whatever it is for."""
    answer = client.post(PREDICT, json={"instances": [[1.0]]}, headers={name: "a/b," * 3000})
    assert (answer.status_code, "8192 bytes" in answer.text) == (431, True)
