"""What a version says of its uncertainty, in every form: sets, intervals, and inputs that are not typical."""

import io
import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.registry.store import Store
from modelyard.services.gateway.metrics import Metrics
from tests.support.fakes import REVIEWS, FakeModelServer
from tests.support.uncertain_models import LINE, RECORD, SURE, serve

PATH = f"/v1/models/{SURE}:predict"
GOOD = {"label": "positive", "class_id": 1, "score": 0.9}
SETS = {"95": ["positive"], "99": ["positive"]}
TYPICAL = {"typical": True, "atypicality": 0.25}
ODD = {"typical": False, "atypicality": 3.5}
REFUSED = f"expected an input like those that {SURE} was trained on, received one whose atypicality is 3.5"


def test_each_answer_in_words_says_how_sure_it_is(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """A set may have one label, both, or none; what is not typical is flagged, and answered."""
    serve(filled, server, SURE)
    rows = client.post(f"{PATH}?labels=true", json={"instances": ["good", "hm", "none", "xyz"]}).json["predictions"]
    assert rows[0] == {**GOOD, "prediction_set": SETS, **TYPICAL}
    assert rows[1]["prediction_set"] == {"95": ["positive"], "99": ["negative", "positive"]}
    assert rows[2]["prediction_set"] == {"95": [], "99": []}
    assert [row["typical"] for row in rows] == [True, True, True, False]
    single = client.post(PATH, data="good", content_type="text/plain").json
    assert {name: single[name] for name in (*GOOD, "prediction_set", *TYPICAL)} == rows[0]
    lines = client.post(f"{PATH}?labels=true", data=b'"good"\n"xyz"\n', content_type="application/jsonl").text
    assert [json.loads(line) for line in lines.splitlines()] == [rows[0], rows[3]]


def test_raw_forms_have_the_tensors_as_they_are(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """TensorFlow Serving's forms, and the Open Inference Protocol's with its own type for booleans."""
    serve(filled, server, SURE, on_atypical="refuse")
    (row,) = client.post(PATH, json={"instances": ["xyz"]}).json["predictions"]
    assert (row["prediction_set"], row["typical"], row["atypicality"]) == ([100, 95], False, 3.5)
    body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["xyz"]}]}
    found = {out["name"]: out for out in client.post(f"/v2/models/{SURE}/infer", json=body).json["outputs"]}
    assert (found["typical"]["datatype"], found["typical"]["data"]) == ("BOOL", [False])
    outputs = client.get(f"/v2/models/{SURE}").json["outputs"]
    types = {"prediction_set": "INT32", "typical": "BOOL", "atypicality": "FP32"}
    assert {out["name"]: out["datatype"] for out in outputs}.items() >= types.items()


def test_numbers_have_intervals(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """By name where the numbers have names, else beside the outputs."""
    serve(filled, server, LINE)
    path = f"/v1/models/{LINE}:predict?labels=scores"
    (row,) = client.post(path, json={"instances": [[3.0]]}).json["predictions"]
    ends = {"interval_95": [[5.0, 7.0]], "interval_99": [[4.0, 8.0]]}
    assert row == {"outputs": {**ends, "value": [6.0]}, **TYPICAL}
    serve(filled, server, LINE, labels=("width",))
    (row,) = client.post(path, json={"instances": [[101.0]]}).json["predictions"]
    intervals = {"95": {"width": [201.0, 203.0]}, "99": {"width": [200.0, 204.0]}}
    assert row == {"values": {"width": 202.0}, "intervals": intervals, **ODD}


def test_a_model_may_refuse_what_is_not_typical(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """422 in a form of its own; in lines and among files that row alone."""
    serve(filled, server, SURE, on_atypical="refuse")
    answer = client.post(PATH, data="xyz", content_type="text/plain")
    assert (answer.status_code, answer.json["error"].split(";")[0]) == (422, REFUSED)
    for query in ("?labels=true", "?labels=scores"):
        rows = client.post(PATH + query, json={"instances": ["good", "xyz"]})
        assert (rows.status_code, rows.json["error"].startswith(f"row 1: {REFUSED}")) == (422, True)
    lines = client.post(f"{PATH}?labels=true", data=b'"good"\n"xyz"\n"hm"\n', content_type="application/jsonl").text
    first, second, third = (json.loads(line) for line in lines.splitlines())
    assert ("label" in first, second["line"], second["error"].split(";")[0], "label" in third) == (
        *(True, 2, REFUSED),
        True,
    )
    files = {"f": [(io.BytesIO(text), f"{text.decode()}.txt") for text in (b"xyz", b"good")]}
    refused, good = client.post(PATH, data=files, content_type="multipart/form-data").json
    assert (refused["error"].split(";")[0], good["typical"]) == (REFUSED, True)


@pytest.mark.parametrize("form", ["?labels=true", "?labels=scores"])
def test_a_model_may_say_nothing_of_it(client: FlaskClient, filled: Store, server: FakeModelServer, form: str) -> None:
    """Sets stay; versions of before say neither."""
    serve(filled, server, SURE, on_atypical="answer")
    (row,) = client.post(PATH + form, json={"instances": ["xyz"]}).json["predictions"]
    assert (row.keys() & {"typical", "atypicality"}, "prediction_set" in row) == (set(), True)
    (old,) = client.post(f"/v1/models/{REVIEWS}:predict{form}", json={"instances": ["good"]}).json["predictions"]
    assert not old.keys() & {"typical", "atypicality", "prediction_set"}


def test_table_answers_keep_their_columns(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """Programs read them by place."""
    serve(filled, server, LINE, labels=("width",))
    headers = {"Accept": "text/csv"}
    answer = client.post(f"/v1/models/{LINE}:predict", data="1\n2\n", content_type="text/csv", headers=headers)
    assert answer.text.split() == ["width", "2.0", "4.0"]


def test_inputs_that_are_not_typical_are_counted(client: FlaskClient, filled: Store, server: FakeModelServer) -> None:
    """In every form, also TensorFlow Serving's."""
    serve(filled, server, SURE)
    client.post(PATH, json={"instances": ["good", "xyz", "xyz"]})
    client.post(PATH, data="xyz", content_type="text/plain")
    counted = f'modelyard_gateway_atypical_answers_total{{model="{SURE}",version="1"}} 3.0'
    assert counted in client.get("/metrics").text


@pytest.mark.parametrize("shape", [(6,), (6, 1), (2, 3)])
def test_inputs_that_are_not_typical_are_counted_whatever_the_shape(shape: tuple[int, ...]) -> None:
    """A foreign model may say it of each place of an input; one that says it by numbers says nothing of it."""
    metrics = Metrics()
    metrics.count_predictions("m", 1, shape[0], np.array([True, False, True, False, False, True]).reshape(shape))
    metrics.count_predictions("m", 1, shape[0], np.zeros(shape, np.float32))
    value = metrics.registry.get_sample_value(
        "modelyard_gateway_atypical_answers_total", {"model": "m", "version": "1"}
    )
    assert value == 3  # False, three times


def test_the_record_stands_in_the_api_and_on_the_page(
    client: FlaskClient, filled: Store, server: FakeModelServer
) -> None:
    """Coverage, sizes, temperature and the share that is flagged."""
    serve(filled, server, SURE, metrics={"accuracy": 0.9, "ece": 0.004})
    record: Any = client.get(f"/api/models/{SURE}/versions/1").json
    assert record["uncertainty"] == json.loads(RECORD.model_dump_json())
    page = client.get(f"/models/{SURE}/versions/1").text
    assert "How sure it is" in page
    assert "95.10" in page
    assert "a distance" in page
