"""Keras models with several inputs through our own model server and a gateway: asked in every form, answered as Keras.

Columns permuted, renamed, missing and extra: the right answer, or a 400 that names them.
"""

import base64
import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from modelyard.models.registry.serving_set import prepare_config
from modelyard.models.registry.store import Store
from modelyard.services.gateway.codecs.oip.binary import to_binary
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support import modelserver
from tests.support.table_models import CHURN, CHURN_ROWS, PAIR, PAIR_ROWS, SHOUT, publish, strings


def to_json(value: Any) -> Any:
    """A value of the dataset as a client sends it."""
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else float(value)


ROWS = [{name: to_json(array[row]) for name, array in CHURN_ROWS.items()} for row in range(4)]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Mapping[str, Any]]:
    """A store of three models, and the Keras models that they were made of."""
    store = Store(tmp_path_factory.mktemp("named") / "store")
    store.prepare()
    models = {name: publish(store, name)[1] for name in (CHURN, PAIR, SHOUT)}
    prepare_config(store)
    return store, models


@pytest.fixture(scope="module", params=modelserver.INSIDE_FIRST)
def served(
    request: pytest.FixtureRequest,
    published: tuple[Store, Mapping[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[FlaskClient, Mapping[str, Any]]]:
    """A gateway before a model server, and the Keras models that it serves."""
    (store, models), root = published, tmp_path_factory.mktemp("serving")
    with modelserver.model_server(request.param, modelserver.Store(store.root, {}), root) as running:
        for name in models:
            running.await_state(1, "AVAILABLE", name)
        settings = GatewaySettings(
            store=store.root,
            ledger=f"sqlite:///{root}/ledger.sqlite",
            serving=running.serving,
            status_timeout_s=30,
            predict_timeout_s=30,
        )
        app = create_app(settings, server=running.inside)
        yield app.test_client(), models
        app.extensions["predictor"].close()
        app.extensions["ledger"].close()


@pytest.fixture
def client(served: tuple[FlaskClient, Mapping[str, Any]]) -> FlaskClient:
    return served[0]


@pytest.fixture
def expected(served: tuple[FlaskClient, Mapping[str, Any]]) -> Any:
    """Keras's own probability that each row of the table leaves."""
    import tensorflow as tf

    given = {
        name: tf.constant(array.tolist(), tf.string if array.dtype == object else tf.float32)
        for name, array in CHURN_ROWS.items()
    }
    answers = served[1][CHURN](given).numpy()[:, 0]
    assert np.ptp(answers) > 0.05, "rows have to differ"
    return pytest.approx(answers.tolist(), abs=1e-5)


def predict(client: FlaskClient, body: Any, query: str = "", model: str = CHURN, **options: Any) -> TestResponse:
    sent = {"json": body} if not options else {"data": body, **options}
    return client.post(f"/v1/models/{model}:predict{query}", **sent)


def leaving(answer: TestResponse) -> list[float]:
    assert answer.status_code == 200, answer.text
    found = answer.json
    assert found is not None
    if "outputs" in found:
        return [row[1] for row in found["outputs"]["probabilities"]]
    return [row["probabilities"][1] for row in found["predictions"]]


def table(rows: list[dict[str, Any]], header: list[str]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, header)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


# --- the right answer -------------------------------------------------------------------------------------------------


def test_rows_and_columns_are_answered_as_keras_answers(client: FlaskClient, expected: Any) -> None:
    """In any order of names; a number or category that is missing is null or not there."""
    assert leaving(predict(client, {"instances": ROWS})) == expected
    turned = [dict(reversed(row.items())) for row in ROWS]
    assert leaving(predict(client, {"instances": turned})) == expected
    bare = [{name: value for name, value in row.items() if value not in (None, "")} for row in ROWS]
    assert leaving(predict(client, {"instances": bare})) == expected
    columns = {name: [row[name] for row in ROWS] for name in reversed(ROWS[0])}
    assert leaving(predict(client, {"inputs": columns})) == expected


def test_names_of_the_data_are_names_of_inputs(client: FlaskClient, expected: Any) -> None:
    """And a boolean is the category that training read from a file."""
    renamed = [{"petal length (cm)": row.pop("petal_length_cm"), **row} for row in ({**row} for row in ROWS)]
    renamed[1]["plan"] = True
    assert leaving(predict(client, {"instances": renamed})) == expected


@pytest.mark.parametrize("title", ["petal_length_cm", "petal length (cm)"])
def test_a_csv_is_answered_by_its_header(client: FlaskClient, expected: Any, title: str) -> None:
    """In another order of columns than training's."""
    rows = [{title if name == "petal_length_cm" else name: value for name, value in row.items()} for row in ROWS]
    for header in (["since", title, "plan", "age"], ["age", "plan", "since", title]):
        answer = predict(client, table(rows, header), content_type="text/csv")
        assert answer.json is not None
        found = [row["score"] if row["class_id"] else 1 - row["score"] for row in answer.json["predictions"]]
        assert found == expected


def test_lines_and_tensors_are_answered_alike(client: FlaskClient, expected: Any) -> None:
    """JSON lines; ``/v2`` in JSON and in binary, where NaN is a missing number."""
    lines = predict(client, "\n".join(map(json.dumps, ROWS)), content_type="application/jsonl")
    assert [json.loads(line)["probabilities"][1] for line in lines.text.splitlines()] == expected
    tensors = [
        {
            "name": name,
            "shape": [4],
            "datatype": "BYTES" if array.dtype == object else "FP32",
            "data": [row[name] for row in ROWS],
        }
        for name, array in CHURN_ROWS.items()
    ]
    wanted = [{"name": "probabilities"}]
    found = client.post(f"/v2/models/{CHURN}/infer", json={"inputs": tensors, "outputs": wanted})
    assert found.json is not None
    assert found.json["outputs"][0]["data"][1::2] == expected
    tails = []
    for tensor in tensors:
        array = CHURN_ROWS[str(tensor["name"])]
        encoded = array if array.dtype != object else strings(*array)
        if encoded.dtype == object:
            encoded[:] = [text.encode() for text in array]
        tails.append(bytes(to_binary(encoded)))
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(tails[-1])}
    head = json.dumps({"inputs": tensors, "outputs": wanted}).encode()
    binary = client.post(
        f"/v2/models/{CHURN}/infer",
        data=head + b"".join(tails),
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert binary.json is not None, binary.text
    assert binary.json["outputs"][0]["data"][1::2] == expected


def test_the_printed_example_is_answered(client: FlaskClient) -> None:
    """Of each model, as ``/api/models`` shows it."""
    for model in (CHURN, PAIR, SHOUT):
        body = client.get(f"/api/models/{model}").json["usage"]["example"]
        answer = predict(client, body, model=model)
        assert answer.status_code == 200, answer.text


# --- or a 400 that names them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"age": ...}, "instances[0]: missing: age; expected age, plan (may be missing)"),
        ({"age": ..., "agee": 4}, "instances[0]: unknown: agee; missing: age; expected age"),
        ({"churned": 1}, "instances[0]: unknown: churned; expected age"),
        ({"petal length (cm)": 1.0}, "given twice: petal_length_cm, petal length (cm)"),
        ({"age": "41"}, 'instances[0].age: expected a number, received "41"'),
        ({"age": None}, "instances[0].age: expected a number, received null"),
        ({"since": "yesterday"}, "instances[0].since: expected a date as ISO 8601"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(client: FlaskClient, change: dict[str, Any], text: str) -> None:
    """With the names that are expected."""
    row = {name: value for name, value in {**ROWS[0], **change}.items() if value is not ...}
    answer = predict(client, {"instances": [row]})
    assert (answer.status_code, text in answer.text.replace('\\"', '"')) == (400, True), answer.text


def test_a_table_with_the_target_or_without_a_column_is_refused(client: FlaskClient) -> None:
    """Nothing is guessed from the order."""
    header = ["age", "plan", "since", "petal_length_cm"]
    more = [row | {"churned": 1} for row in ROWS]
    answer = predict(client, table(more, [*header, "churned"]), content_type="text/csv")
    assert (answer.status_code, "unknown: churned" in answer.text) == (400, True)
    less = [{name: row[name] for name in header[1:]} for row in ROWS]
    answer = predict(client, table(less, header[1:]), content_type="text/csv")
    text = "header: missing: age; expected age, plan, petal length (cm), since"
    assert (answer.status_code, text in answer.text) == (400, True)


# --- other kinds ------------------------------------------------------------------------------------------------------


def test_an_image_and_a_text_are_answered_with_several_labels(
    client: FlaskClient, served: tuple[FlaskClient, Mapping[str, Any]]
) -> None:
    """As pixels, as a file in JSON, and in a form: the same scores, Keras's."""
    import tensorflow as tf

    photo, caption = PAIR_ROWS["photo"], PAIR_ROWS["caption"]
    given = {"photo": tf.constant(photo, tf.float32), "caption": tf.constant(caption.tolist())}
    scores = served[1][PAIR](given).numpy()
    pixels = [{"photo": photo[row].tolist(), "caption": caption[row]} for row in range(2)]
    by_pixels = predict(client, {"instances": pixels}, model=PAIR).json
    assert by_pixels is not None
    np.testing.assert_allclose(by_pixels["predictions"], scores, atol=1e-5)
    file = io.BytesIO()
    Image.fromarray(photo[0]).save(file, "PNG")
    encoded = {"photo": {"b64": base64.b64encode(file.getvalue()).decode()}, "caption": "a cat"}
    by_file = predict(client, {"instances": [encoded], "signature_name": "image_bytes"}, "?labels=true", PAIR).json
    assert by_file is not None
    labels = {entry["label"]: entry["score"] for entry in by_file["predictions"][0]["labels"]}
    likely = {label: score for label, score in zip(("red", "blue", "cat"), scores[0], strict=True) if score >= 0.5}
    assert labels == pytest.approx(likely, abs=1e-5)
    form = {"photo": (io.BytesIO(file.getvalue()), "x.png"), "caption": "a cat"}
    answer = predict(client, form, model=PAIR, content_type="multipart/form-data").json
    assert answer is not None
    np.testing.assert_allclose(list(answer["scores"].values()), scores[0], atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_pictures_of_other_modes_are_decoded_by_the_graph(client: FlaskClient, mode: str) -> None:
    """Whatever they are, the model sees three channels."""
    file = io.BytesIO()
    Image.new(mode, (9, 7)).save(file, "PNG")
    form = {"photo": (io.BytesIO(file.getvalue()), "x.png"), "caption": "a cat"}
    assert predict(client, form, model=PAIR, content_type="multipart/form-data").status_code == 200


def test_a_text_is_answered_with_a_text(client: FlaskClient) -> None:
    """As it is, as rows, and as lines."""
    rows = predict(client, {"instances": ["é la", "b"]}, model=SHOUT)
    assert rows.json == {"predictions": ["É LA", "B"]}
    raw = predict(client, "é la".encode(), model=SHOUT, content_type="text/plain").json
    assert raw is not None
    assert raw["text"] == "É LA"
    lines = predict(client, '"b"\n', "?labels=true", SHOUT, content_type="application/jsonl")
    assert lines.text == '{"text":"B"}\n'
