"""Models with named inputs, and with other outputs than one class, asked in every form."""

import io
import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from modelyard.models.registry.manifest import TensorSpec
from modelyard.models.registry.store import Store
from modelyard.models.tfserving.messages import from_proto
from modelyard.services.gateway.openapi import v1
from tests.support.fakes import FakeModelServer, publish
from tests.support.named_models import (
    CHURN,
    COLUMNS,
    MANIFESTS,
    PAIR,
    ROW,
    SIZES,
    STEPS,
    TAGS,
    WRITER,
    output,
    serve,
    table,
)

YES = {"label": "yes", "class_id": 1, "score": 0.9}
NO = {"label": "no", "class_id": 0, "score": 0.9}


@pytest.fixture(autouse=True)
def tables(filled: Store, server: FakeModelServer) -> None:
    serve(filled, server, CHURN, PAIR, TAGS, SIZES, WRITER, STEPS)


def post(client: FlaskClient, model: str, query: str = "", **options: Any) -> TestResponse:
    return client.post(f"/v1/models/{model}:predict{query}", **options)


def png(mode: str = "RGB", size: tuple[int, int] = (5, 4)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, "PNG")
    return file.getvalue()


# --- a table ----------------------------------------------------------------------------------------------------------


def test_every_form_gives_the_model_the_same_tensors(client: FlaskClient, server: FakeModelServer) -> None:
    """Rows, columns, CSV, lines and a form."""
    header, cells = ",".join(reversed(ROW)), ",".join(str(value) for value in reversed(ROW.values()))
    tensors = [
        {"name": name, "shape": [1], "datatype": "FP32" if COLUMNS[name].kind == "number" else "BYTES", "data": [value]}
        for name, value in ROW.items()
    ]
    answers = [
        post(client, CHURN, "?labels=true", json={"instances": [ROW]}),
        post(client, CHURN, json={"inputs": {name: [value] for name, value in ROW.items()}}),
        post(client, CHURN, data=f"{header}\n{cells}\n", content_type="text/csv"),
        post(client, CHURN, data=json.dumps(ROW), content_type="application/jsonl"),
        post(client, CHURN, data={name: str(value) for name, value in ROW.items()}, content_type="multipart/form-data"),
        client.post(f"/v2/models/{CHURN}/infer", json={"inputs": tensors}),
    ]
    assert [answer.status_code for answer in answers] == [200] * 6, [answer.text for answer in answers]
    found = [{name: from_proto(tensor).tolist() for name, tensor in call.inputs.items()} for call in server.calls]
    assert len(found) == 6
    assert all(inputs == found[0] for inputs in found)
    assert answers[0].json == answers[2].json == {"predictions": [YES]}
    assert answers[4].json is not None
    assert (answers[4].json["label"], answers[4].json["scores"]) == ("yes", {"no": 0.1, "yes": 0.9})


def test_large_bodies_are_read_by_the_side_process_as_small_ones(client: FlaskClient, server: FakeModelServer) -> None:
    """JSON, CSV and lines: what they hold, and what is wrong with it."""
    rows = [ROW | {"age": number, "city": "x" * 200} for number in range(200)]
    by_json = post(client, CHURN, json={"instances": rows})
    cells = "\n".join(",".join(str(value) for value in row.values()) for row in rows)
    by_csv = post(client, CHURN, data=f"{','.join(ROW)}\n{cells}\n", content_type="text/csv")
    by_line = post(client, CHURN, data="\n".join(map(json.dumps, rows)), content_type="application/jsonl")
    assert [answer.status_code for answer in (by_json, by_csv, by_line)] == [200] * 3
    assert by_line.text.count("\n") == 200
    first, second = (from_proto(call.inputs["age"]).tolist() for call in server.calls[:2])
    assert first == second == list(range(200))
    refused = post(client, CHURN, json={"instances": [*rows, {**ROW, "age": "x"}]})
    assert "instances[200].age: expected a number" in refused.text


def test_lines_fail_alone_with_the_names_that_are_expected(client: FlaskClient) -> None:
    """Good ones around a bad one have their answers."""
    lines = [ROW, {"agee": 1}, ROW | {"plan": "basic"}, ROW | {"age": None}]
    answer = post(
        client, CHURN, "?labels=true", data="\n".join(map(json.dumps, lines)), content_type="application/jsonl"
    )
    first, second, third, fourth = map(json.loads, answer.text.splitlines())
    assert (first, third) == (YES, NO)
    assert second["line"] == 2
    assert "unknown: agee; missing: age, plan; expected age" in second["error"]
    assert fourth == {"error": "age: expected a number, received null", "line": 4}


def test_a_table_is_answered_as_csv_if_accept_prefers_it(client: FlaskClient) -> None:
    """A line per line."""
    body = "age,plan,tenure_months,city,since,petal_length_cm\n1,gold,,,,\n2,basic,,,,\n"
    answer = post(client, CHURN, data=body, content_type="text/csv", headers={"Accept": "text/csv"})
    assert answer.text == "label,class_id,score\r\nyes,1,0.9\r\nno,0,0.9\r\n"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ({"age": "41"}, "form: missing: plan; expected age, plan"),
        ({"age": "41", "plan": "gold", "churned": "1"}, "form: unknown: churned; expected age"),
        ({"age": "old", "plan": "gold"}, 'age: expected a number, received "old"'),
        ({"age": "", "plan": "gold"}, 'age: expected a number, received ""'),
    ],
)
def test_a_form_that_is_no_row_is_refused(client: FlaskClient, form: dict[str, str], text: str) -> None:
    """With the field."""
    answer = post(client, CHURN, data=form, content_type="multipart/form-data")
    assert answer.json is not None
    assert (answer.status_code, text in answer.json["error"]) == (400, True), answer.json


def test_metadata_names_every_input(client: FlaskClient) -> None:
    """As tensors, in the V2 protocol."""
    inputs = client.get(f"/v2/models/{CHURN}").json["inputs"]
    assert {"name": "age", "datatype": "FP32", "shape": [-1]} in inputs
    assert {entry["name"] for entry in inputs} == set(COLUMNS)


# --- several kinds ----------------------------------------------------------------------------------------------------


def test_an_image_a_text_and_a_vector_go_into_one_form(client: FlaskClient, server: FakeModelServer) -> None:
    """The image as its file, numbers as JSON."""
    content = png()
    form = {"photo": (io.BytesIO(content), "x.png"), "caption": "a cat", "weights": "[1, 2, 3]"}
    answer = post(client, PAIR, data=form, content_type="multipart/form-data")
    assert answer.json is not None
    assert (answer.status_code, answer.json["label"]) == (200, "yes")
    inputs = server.calls[-1].inputs
    assert server.calls[-1].model_spec.signature_name == "image_bytes"
    assert from_proto(inputs["photo_bytes"]).tolist() == [content]
    assert from_proto(inputs["weights"]).tolist() == [[1, 2, 3]]


def test_images_of_named_inputs_are_checked_as_others_are(client: FlaskClient) -> None:
    """Their format and their pixels, in a form and in JSON."""
    for content, text in (
        (b"GIF89a", "photo_bytes[0]: expected a PNG or JPEG image, received 6 bytes of image/gif"),
        (png(size=(200, 200)), "photo_bytes[0]: expected at most 10000 pixels, received 200 x 200: make it smaller"),
    ):
        form = {"photo": (io.BytesIO(content), "x"), "caption": "a cat", "weights": "[1, 2, 3]"}
        answer = post(client, PAIR, data=form, content_type="multipart/form-data")
        assert (answer.status_code, answer.json) == (400, {"error": text})


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1", "I;16"])
def test_pictures_of_any_mode_reach_the_graph(client: FlaskClient, mode: str) -> None:
    """It converts them."""
    form = {"photo": (io.BytesIO(png(mode)), "x"), "caption": "a cat", "weights": "[1, 2, 3]"}
    assert post(client, PAIR, data=form, content_type="multipart/form-data").status_code == 200


@pytest.mark.parametrize(
    ("sequences", "status", "text"),
    [
        ([[[1, 2]] * 4], 200, ""),
        ([[[1, 2]] * 5], 400, "sequences: expected 1 to 4 steps, received 5"),
        ([[]], 400, "sequences: expected"),
        ([[[1, 2, 3]]], 400, "sequences: expected shape [n,n,2], received [1,1,3]"),
        ([[[1, 2]], [[1, 2]] * 2], 400, "sequences[1]: expected a list of 1"),
    ],
)
def test_sequences_have_as_many_steps_as_the_model_takes(
    client: FlaskClient, sequences: Any, status: int, text: str
) -> None:
    """All of one request equally many."""
    answer = post(client, STEPS, json={"instances": sequences})
    assert answer.status_code == status
    assert text in answer.text


# --- several labels ---------------------------------------------------------------------------------------------------


def test_labels_from_a_half_on_are_listed_the_likeliest_first(client: FlaskClient) -> None:
    """None is a list too; raw text has every score."""
    texts = ["they fight and laugh", "nothing"]
    answer = post(client, TAGS, "?labels=true", json={"instances": texts})
    high = [{"label": "action", "score": 0.95}, {"label": "comedy", "score": 0.95}]
    assert answer.json == {"predictions": [{"labels": high}, {"labels": []}]}
    plain = post(client, TAGS, json={"instances": texts}).json
    assert plain is not None
    assert plain["predictions"][1] == pytest.approx([0.05, 0.05, 0.05])
    raw = post(client, TAGS, data="the army", content_type="text/plain").json
    assert raw is not None
    assert raw["labels"] == [{"label": "war", "score": 0.95}]
    assert raw["scores"] == {"action": 0.05, "comedy": 0.05, "war": 0.95}
    assert isinstance(v1.PredictResponse.model_validate(raw).root, v1.SingleLabels)


def test_several_labels_as_lines_and_files(client: FlaskClient) -> None:
    """Each line and file has its own."""
    lines = post(client, TAGS, "?labels=true", data='"army"\n"x"\n', content_type="application/jsonl").text
    assert [json.loads(line) for line in lines.splitlines()] == [
        {"labels": [{"label": "war", "score": 0.95}]},
        {"labels": []},
    ]
    form = {"files": [(io.BytesIO(b"laugh"), "a.txt"), (io.BytesIO(b"x"), "b.txt")]}
    files = post(client, TAGS, data=form, content_type="multipart/form-data").json
    assert files is not None
    assert [entry["labels"] for entry in files] == [[{"label": "comedy", "score": 0.95}], []]


# --- several numbers --------------------------------------------------------------------------------------------------


def test_several_numbers_have_their_names(client: FlaskClient) -> None:
    """As labels, and in CSV; the plain form is TensorFlow Serving's."""
    rows = {"instances": [[1, 2, 3], [4, 5, 6]]}
    assert post(client, SIZES, json=rows).json == {"predictions": [[2.0, 4.0], [8.0, 10.0]]}
    named = [{"values": {"width": 2.0, "height": 4.0}}, {"values": {"width": 8.0, "height": 10.0}}]
    assert post(client, SIZES, "?labels=true", json=rows).json == {"predictions": named}
    table = post(client, SIZES, data="1,2,3\n", content_type="text/csv", headers={"Accept": "text/csv"})
    assert table.text == "width,height\r\n2.0,4.0\r\n"


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_text_is_answered_as_text_in_every_form(client: FlaskClient) -> None:
    """Never as base64."""
    assert post(client, WRITER, json={"instances": ["é", "b"]}).json == {"predictions": ["<é>", "<b>"]}
    assert post(client, WRITER, json={"inputs": ["a"]}).json == {"outputs": ["<a>"]}
    labelled = post(client, WRITER, "?labels=true", json={"instances": ["a"]})
    assert labelled.json == {"predictions": [{"text": "<a>"}]}
    raw = post(client, WRITER, data="a", content_type="text/plain").json
    assert raw is not None
    assert (raw["text"], raw["model"]) == ("<a>", WRITER)
    assert isinstance(v1.PredictResponse.model_validate(raw).root, v1.SingleText)
    lines = post(client, WRITER, data='"a"\n"b"\n', content_type="application/jsonl")
    assert lines.text == '"<a>"\n"<b>"\n'
    form = {"files": [(io.BytesIO(b"a"), "a.txt")]}
    assert post(client, WRITER, data=form, content_type="multipart/form-data").json == [
        {"file": "a.txt", "text": "<a>"}
    ]
    infer = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    assert client.post(f"/v2/models/{WRITER}/infer", json=infer).json["outputs"][0]["data"] == ["<a>"]


def test_a_table_may_be_answered_with_texts_as_csv(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """With commas and quotes in them."""
    version = publish(filled, CHURN, **table(COLUMNS, output("text", "string")) | {"task": "text", "labels": ()})
    server.loaded.add((CHURN, version))
    server.outputs = {"text": np.array([b'a, "b"'], object)}
    body = "age,plan,tenure_months,city,since,petal_length_cm\n1,gold,,,,\n"
    answer = post(client, CHURN, data=body, content_type="text/csv", headers={"Accept": "text/csv"})
    assert answer.text == 'text\r\n"a, ""b"""\r\n'


# --- outputs of one's own ---------------------------------------------------------------------------------------------


def test_outputs_of_ones_own_are_answered_as_tensorflow_serving_does(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """Whatever they are; an only input may still be sent as it is."""
    fields = dict(MANIFESTS[WRITER]) | {"task": "custom"}
    signature = fields["signatures"]["serving_default"]
    outputs = (
        TensorSpec(name="action", dtype="int64", shape=(None,)),
        TensorSpec(name="logits", dtype="float32", shape=(None, 2)),
    )
    fields["signatures"] = {"serving_default": signature.model_copy(update={"outputs": outputs})}
    server.loaded.add((WRITER, publish(filled, WRITER, **fields)))
    server.outputs = {"action": np.array([1]), "logits": np.array([[0.5, 2]], np.float32)}
    row = {"action": 1, "logits": [0.5, 2.0]}
    assert post(client, WRITER, json={"instances": ["a"]}).json == {"predictions": [row]}
    raw = post(client, WRITER, data="a", content_type="text/plain").json
    assert raw is not None
    assert raw["outputs"] == row
    assert isinstance(v1.PredictResponse.model_validate(raw).root, v1.SingleOutputs)
    refused = post(client, WRITER, "?labels=true", json={"instances": ["a"]})
    assert (refused.status_code, "has none to answer with" in refused.text) == (400, True)
