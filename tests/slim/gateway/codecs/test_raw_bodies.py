"""Raw bodies of several inputs: files in a form, and numbers as CSV; and answers in labels."""

import io
from typing import Any

import grpc
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.fakes import DIGITS, HALF_PLUS, REVIEWS, FakeModelServer, encoded

PNG, JPEG = encoded("PNG"), encoded("JPEG")
LIGHT = {"label": "light", "class_id": 1, "score": 0.75, "scores": {"dark": 0.25, "light": 0.75}}
DARK = {"label": "dark", "class_id": 0, "score": 0.75, "scores": {"dark": 0.75, "light": 0.25}}


def upload(client: FlaskClient, model: str, *files: tuple[bytes, str]) -> TestResponse:
    form = {"files": [(io.BytesIO(content), name) for content, name in files]}
    return client.post(f"/v1/models/{model}:predict", data=form, content_type="multipart/form-data")


# --- several files ----------------------------------------------------------------------------------------------------


def test_every_file_has_its_label_in_order(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """With its name; all in one call."""
    answer = upload(shared_client, DIGITS, (PNG, "a.png"), (JPEG, "b.jpg"), (PNG, "a.png"))
    assert answer.json == [{"file": "a.png"} | LIGHT, {"file": "b.jpg"} | DARK, {"file": "a.png"} | LIGHT]
    assert len(shared_server.calls) == 1
    assert answer.headers["X-Model-Version"] == "1"


def test_texts_may_be_files_or_fields(shared_client: FlaskClient) -> None:
    """A field has its own name."""
    form = {"first": "good", "second": (io.BytesIO(b"dull"), "b.txt")}
    answer = shared_client.post(f"/v1/models/{REVIEWS}:predict", data=form, content_type="multipart/form-data")
    assert answer.json is not None
    assert [(entry["file"], entry["label"]) for entry in answer.json] == [("first", "positive"), ("b.txt", "negative")]


def test_a_file_that_is_no_image_fails_alone(shared_client: FlaskClient) -> None:
    """Its entry says why."""
    answer = upload(shared_client, DIGITS, (PNG, "a.png"), (b"GIF89a", "b.gif"), (PNG[:-20], "c.png"), (JPEG, "d.jpg"))
    assert (answer.status_code, answer.json is not None) == (200, True)
    assert [entry.get("label", "error") for entry in answer.json] == ["light", "error", "error", "dark"]
    assert "image/gif" in answer.json[1]["error"]
    assert "cut off" in answer.json[2]["error"]


def test_a_file_that_the_model_refuses_fails_alone(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Damaged behind a sound header: found by bisection, so its neighbours succeed."""
    shared_server.refused = JPEG
    answer = upload(shared_client, DIGITS, (PNG, "a"), (JPEG, "b"), (PNG, "c"), (PNG, "d"), (PNG, "e"))
    assert answer.json == [
        {"file": "a"} | LIGHT,
        {"file": "b", "error": "an input is refused"},
        *({"file": name} | LIGHT for name in "cde"),
    ]


def test_a_form_of_which_nothing_can_be_used_is_400(shared_client: FlaskClient, shared_server: FakeModelServer) -> None:
    """Whether we or the model say so."""
    assert upload(shared_client, DIGITS, (b"x", "a"), (b"y", "b")).status_code == 400
    shared_server.refused = PNG
    answer = upload(shared_client, DIGITS, (PNG, "a"), (PNG, "b"))
    assert (answer.status_code, answer.json) == (400, {"error": "an input is refused"})


def test_a_server_that_is_away_is_503_for_the_whole_form(
    shared_client: FlaskClient, shared_server: FakeModelServer
) -> None:
    """No file is to blame."""
    shared_server.fail_next(grpc.StatusCode.UNAVAILABLE, times=2)
    answer = upload(shared_client, DIGITS, (PNG, "a"), (PNG, "b"))
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"x", "multipart/form-data", "with a boundary of 1 to 100"),
        (b"x", f"multipart/form-data; boundary={'b' * 101}", "with a boundary of 1 to 100"),
        (b"--b--\r\n", "multipart/form-data; boundary=b", "expected 1 to 10 files, received none"),
        (b"--b\r\n\r\n", "multipart/form-data; boundary=b", "malformed multipart/form-data"),
        (b"--b\r\nContent-Type: x\r\n\r\n1\r\n--b--", "multipart/form-data; boundary=b", "malformed multipart"),
        (b"no form at all", "multipart/form-data; boundary=b", "malformed multipart/form-data"),
    ],
)
def test_what_is_no_form_is_400(shared_client: FlaskClient, body: bytes, content_type: str, text: str) -> None:
    """Never a 500."""
    answer = shared_client.post(f"/v1/models/{DIGITS}:predict", data=body, content_type=content_type)
    assert answer.json is not None
    assert (answer.status_code, text in answer.json["error"]) == (400, True)


def test_files_are_limited_in_number_and_size(settings: GatewaySettings) -> None:
    """The form as a whole, and each of them."""
    limits = settings.model_copy(update={"max_files": 2, "max_image_bytes": 1000, "max_tensor_bytes": 5000})
    client = create_app(limits).test_client()
    many = upload(client, DIGITS, *[(PNG, "x")] * 3)
    large = upload(client, DIGITS, (PNG, "a"), (PNG + bytes(1000), "b"))
    huge = upload(client, DIGITS, (bytes(6000), "a"))
    assert (many.status_code, many.json) == (400, {"error": "expected at most 2 files, received more"})
    assert large.json is not None
    assert "expected a file of at most 1000 bytes" in large.json[1]["error"]
    assert huge.status_code == 413


def test_a_name_is_cut_and_never_a_path(shared_client: FlaskClient) -> None:
    """It comes back as it came, in JSON; nothing is written anywhere."""
    answer = upload(shared_client, DIGITS, (PNG, "../../etc/passwd"), (PNG, "x" * 1000))
    assert answer.json is not None
    assert [entry["file"] for entry in answer.json] == ["../../etc/passwd", "x" * 200]


# --- CSV --------------------------------------------------------------------------------------------------------------


def csv(client: FlaskClient, body: bytes, **headers: str) -> TestResponse:
    return client.post(f"/v1/models/{HALF_PLUS}:predict", data=body, content_type="text/csv", headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        b"1\n2.5\n-3e1",
        b"1\r\n2.5\r\n-3e1\r\n",
        b"x\n1\n2.5\n-3e1\n",
        b'\xef\xbb\xbf"1"\n" 2.5 "\n-30.\n',
        b"1\n\n2.5\n\n-30\n\n",
    ],
)
def test_lines_of_numbers_are_rows(shared_client: FlaskClient, body: bytes) -> None:
    """With a header or without, quoted or not, from a spreadsheet or not."""
    assert csv(shared_client, body).json == {"predictions": [[2.5], [3.25], [-13.0]]}


def test_numbers_are_returned_as_csv_if_accept_prefers_it(shared_client: FlaskClient) -> None:
    """A header, and a line per line."""
    answer = csv(shared_client, b"1\n0.2\n", Accept="text/csv, application/json;q=0.5")
    assert answer.content_type == "text/csv; charset=utf-8"
    assert answer.get_data(as_text=True) == "value\r\n2.5\r\n2.1\r\n"
    assert csv(shared_client, b"1\n", Accept="application/json, text/csv").json == {"predictions": [[2.5]]}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "expected 1 to 256 lines of numbers, received 0"),
        (b"x\n", "expected 1 to 256 lines of numbers, received 0"),
        (b"1\n" * 257, "expected 1 to 256 lines of numbers, received 257"),
        (b"1,2\n", "vectors: expected shape [n,1], received [1,2]"),
        (b"1\n1,2\n", "row 2: expected 1 cells as in the first line, received 2"),
        (b"a,b\n1\n", "row 1: expected 2 cells as in the first line, received 1"),
        (b"1\nx\n", 'row 2, column 1: expected a float number, received "x"'),
        (b"1\n1_000\n", 'received "1_000"'),
        (b"1\nnan\n", 'received "nan"'),
        (b"1\n1e39\n", "expected a finite float32 value"),
        (b"1\n1e999\n", "expected a finite float32 value"),
        (b"1\n" + b"9" * 1000, "row 2, column 1: expected a float number"),
        (b'1\n"2', "malformed CSV"),
        (b"1\n\xff", "expected UTF-8, received byte 0xff"),
        ("1\n٢\n".encode(), "row 2, column 1: expected a float number"),
    ],
)
def test_what_is_no_table_of_numbers_is_400(
    shared_client: FlaskClient, shared_server: FakeModelServer, body: bytes, text: str
) -> None:
    """With row and column."""
    answer = csv(shared_client, body)
    assert answer.json is not None
    assert (answer.status_code, text in answer.json["error"]) == (400, True)
    assert shared_server.calls == []


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?labels=true", {"label": "positive", "class_id": 1, "score": 0.9}),
        ("?labels=false", {"class_id": 1, "probabilities": [0.1, 0.9]}),
        ("", {"class_id": 1, "probabilities": [0.1, 0.9]}),
    ],
)
def test_rows_are_returned_as_labels_on_request(shared_client: FlaskClient, query: str, expected: Any) -> None:
    """Instead of the outputs."""
    answer = shared_client.post(f"/v1/models/{REVIEWS}:predict{query}", json={"instances": ["good"]})
    assert answer.json == {"predictions": [expected]}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?labels=true", "labels: serving_default of half_plus has none to answer with"),
        ("?labels=1", "labels: expected true, false or scores, received '1'"),
    ],
)
def test_labels_where_there_are_none_are_400(shared_client: FlaskClient, query: str, text: str) -> None:
    """Also a value that is neither."""
    answer = shared_client.post(f"/v1/models/{HALF_PLUS}:predict{query}", json={"instances": [[1.0]]})
    assert (answer.status_code, answer.json) == (400, {"error": text})
