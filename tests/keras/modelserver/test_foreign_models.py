"""SavedModels of others, over gRPC and through a gateway: TensorFlow Serving's own end-to-end cases, and odd models."""

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import pytest
from flask.testing import FlaskClient

from modelyard.models.tfserving.messages import (
    TENSORS_AS_CONTENT,
    classification_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
    types_pb2,
)
from modelyard.services.gateway.settings import GatewaySettings
from modelyard.services.gateway.wsgi import create_app
from tests.support.foreign_models import save_native, save_variable
from tests.support.modelserver import APART_FIRST, Served, Store, model_server, request
from tests.support.modelserver_examples import CLASSIFY, REGRESS, example, examples
from tests.support.waiting import TIMEOUT_S

NATIVE, VARIABLE = "native", "variable"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def both_models(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Saved, and configured."""
    store = Store(tmp_path_factory.mktemp("foreign"), {})
    save_native(store.root / NATIVE / "123")
    save_variable(store.root / VARIABLE / "1")
    store.configure(store.entry(NATIVE), store.entry(VARIABLE))
    return store


@pytest.fixture(scope="module", params=APART_FIRST)
def foreign(
    request: pytest.FixtureRequest, both_models: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A server of both models."""
    with model_server(request.param, both_models, tmp_path_factory.mktemp("server")) as served:
        served.await_state(123, "AVAILABLE", NATIVE)
        served.await_state(1, "AVAILABLE", VARIABLE)
        yield served


@pytest.fixture(scope="module")
def gateway(foreign: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A gateway before it, for which both are external models."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = GatewaySettings(
        store=folder / "store",
        ledger=f"sqlite:///{folder}/ledger.sqlite",
        serving=foreign.serving,
        external_models=(NATIVE, VARIABLE),
        status_timeout_s=30,
        predict_timeout_s=30,
    )
    app = create_app(settings, server=foreign.inside)
    yield app.test_client()
    app.extensions["predictor"].close()
    app.extensions["ledger"].close()


def fill(message: Any, signature: str) -> Any:
    message.model_spec.name, message.model_spec.signature_name = NATIVE, signature
    message.input.CopyFrom(examples(example(x=2.0)))
    return message


# --- TensorFlow Serving's own cases: model_servers/tensorflow_model_server_test.py ------------------------------------


@pytest.mark.parametrize("outputs", [["y"], []])
def test_predict_returns_lists_of_values(foreign: Served, outputs: list[str]) -> None:
    """``float_val``, as every client of TensorFlow Serving reads it; with and without an output filter."""
    message = predict_pb2.PredictRequest(output_filter=outputs)
    message.model_spec.name = NATIVE
    message.inputs["x"].dtype = types_pb2.DT_FLOAT
    message.inputs["x"].float_val.append(2.0)
    message.inputs["x"].tensor_shape.dim.add(size=1)
    reply = foreign.prediction.Predict(message, timeout=TIMEOUT_S)
    assert (reply.outputs["y"].dtype, list(reply.outputs["y"].float_val)) == (types_pb2.DT_FLOAT, [3.0])
    assert reply.outputs["y"].tensor_content == b""
    assert (reply.model_spec.name, reply.model_spec.version.value) == (NATIVE, 123)
    assert reply.model_spec.signature_name == "serving_default"


def test_a_client_that_asks_for_bytes_gets_bytes(foreign: Served) -> None:
    """Our gateway does, with each call; the flag for everybody is off."""
    message = request(NATIVE, x=np.array([2.0], np.float32))
    reply = foreign.prediction.Predict(message, timeout=TIMEOUT_S, metadata=(TENSORS_AS_CONTENT,))
    assert reply.outputs["y"].tensor_content == np.float32(3).tobytes()
    assert list(reply.outputs["y"].float_val) == []


def test_classify_and_regress_run_signatures_of_tensorflow_2(foreign: Served) -> None:
    """They call themselves predict signatures: TensorFlow 2 knows no others."""
    classified = foreign.prediction.Classify(
        fill(classification_pb2.ClassificationRequest(), "classify_x_to_y"), timeout=TIMEOUT_S
    )
    regressed = foreign.prediction.Regress(
        fill(regression_pb2.RegressionRequest(), "regress_x_to_y"), timeout=TIMEOUT_S
    )
    assert [item.score for item in classified.result.classifications[0].classes] == [3.0]
    assert [item.value for item in regressed.result.regressions] == [3.0]


@pytest.mark.parametrize("names", [("regress_x_to_y", "classify_x_to_y"), ("classify_x_to_y", "regress_x_to_y")])
def test_multi_inference_feeds_every_signatures_own_input(foreign: Served, names: tuple[str, str]) -> None:
    """In TensorFlow 2 each has a placeholder of its own; all get the same examples, in one run."""
    message = inference_pb2.MultiInferenceRequest(input=examples(example(x=2.0), example(x=4.0)))
    for name in names:
        task = message.tasks.add(method_name=REGRESS if name.startswith("regress") else CLASSIFY)
        task.model_spec.name, task.model_spec.signature_name = NATIVE, name
    found = {
        result.model_spec.signature_name: result
        for result in foreign.prediction.MultiInference(message, timeout=TIMEOUT_S).results
    }
    regressed = found["regress_x_to_y"].regression_result.regressions
    classified = found["classify_x_to_y"].classification_result.classifications
    assert [item.value for item in regressed] == [3.0, 4.0]
    assert [row.classes[0].score for row in classified] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("method", "message", "words"),
    [
        ("Classify", classification_pb2.ClassificationRequest(), "No classification inputs found in SignatureDef"),
        ("Regress", regression_pb2.RegressionRequest(), "No regression inputs found in SignatureDef"),
    ],
)
def test_examples_for_another_kind_of_signature_are_invalid_argument(
    foreign: Served, method: str, message: Any, words: str
) -> None:
    """Such as the one for Predict, whose input is ``x``."""
    with pytest.raises(grpc.RpcError) as caught:
        getattr(foreign.prediction, method)(fill(message, "serving_default"), timeout=TIMEOUT_S)
    assert caught.value.code() is INVALID
    assert words in caught.value.details()


CASES: Mapping[str, tuple[str, Any, Any]] = {
    "row": ("predict", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
    "column": ("predict", {"inputs": [2.0, 3.0, 4.0]}, {"outputs": [3.0, 3.5, 4.0]}),
    "classify": (
        "classify",
        {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]},
        {"results": [[["", 3.0]]]},
    ),
    "regress": ("regress", {"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}, {"results": [3.0]}),
}


@pytest.mark.parametrize(("verb", "body", "expected"), CASES.values(), ids=CASES)
def test_rest_answers_as_in_their_tests(gateway: FlaskClient, verb: str, body: Any, expected: Any) -> None:
    """The bodies of their REST cases, through the gateway."""
    answer = gateway.post(f"/v1/models/{NATIVE}:{verb}", json=body)
    assert (answer.status_code, answer.json) == (200, expected)


def test_metrics_are_where_tensorflow_serving_has_them(gateway: FlaskClient) -> None:
    """Of the gateway, which is the REST port here."""
    answer = gateway.get("/monitoring/prometheus/metrics")
    assert answer.status_code == 200
    assert "modelyard_gateway_serving_retries_total" in answer.text


# --- odd models -------------------------------------------------------------------------------------------------------


def test_a_scalar_has_a_shape_without_sizes(foreign: Served) -> None:
    """The field is there, as TensorFlow Serving writes it."""
    message = request(NATIVE, "loudness", waveform=np.ones(4, np.float32))
    reply = foreign.prediction.Predict(message, timeout=TIMEOUT_S)
    assert reply.outputs["mean"].HasField("tensor_shape")
    assert list(reply.outputs["mean"].tensor_shape.dim) == []
    assert [size.size for size in reply.outputs["frames"].tensor_shape.dim] == [1, 4]


@pytest.mark.parametrize("length", [4, 16_000])
def test_one_input_without_a_batch_axis_may_be_of_any_length(gateway: FlaskClient, length: int) -> None:
    """In the column form, and on ``/v2``: its first axis does not count inputs."""
    wave = [1.0] * length
    body = {"inputs": {"waveform": wave}, "signature_name": "loudness"}
    answer = gateway.post(f"/v1/models/{NATIVE}:predict", json=body)
    assert answer.json == {"outputs": {"mean": 1.0, "frames": [[1.0] * 4] * (length // 4)}}
    tensor = {"name": "waveform", "shape": [length], "datatype": "FP32", "data": wave}
    body = {"inputs": [tensor], "outputs": [{"name": "mean"}], "parameters": {"signature_name": "loudness"}}
    answer = gateway.post(f"/v2/models/{NATIVE}/infer", json=body)
    assert answer.json is not None
    assert answer.json["outputs"] == [{"name": "mean", "datatype": "FP32", "shape": [], "data": [1.0]}]


def test_an_output_without_a_json_form_is_400_and_names_its_type(gateway: FlaskClient) -> None:
    """Before the model runs; other outputs of the same signature can be asked for on ``/v2``."""
    body = {"instances": [2.0], "signature_name": "spectrum"}
    answer = gateway.post(f"/v1/models/{NATIVE}:predict", json=body)
    assert (answer.status_code, answer.json) == (400, {"error": "bins: outputs of type complex64 have no JSON form"})
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [2.0]}
    body = {"inputs": [tensor], "outputs": [{"name": "y"}], "parameters": {"signature_name": "spectrum"}}
    answer = gateway.post(f"/v2/models/{NATIVE}/infer", json=body)
    assert answer.json is not None
    assert answer.json["outputs"][0]["data"] == [3.0]


def test_a_variable_as_an_output_is_its_values(gateway: FlaskClient) -> None:
    """TensorFlow 1 gives it a reference type, which no value has."""
    answer = gateway.post(f"/v1/models/{VARIABLE}:predict", json={"inputs": [2.0]})
    assert answer.json == {"outputs": {"weights": [1.0, 2.0], "y": [3.0]}}


def test_a_signature_without_inputs_takes_an_empty_object(gateway: FlaskClient) -> None:
    """In either form; values for nothing are 400."""
    path = f"/v1/models/{NATIVE}:predict"
    name = {"signature_name": "constant"}
    assert gateway.post(path, json=name | {"inputs": {}}).json == {"outputs": [1.0]}
    assert gateway.post(path, json=name | {"instances": [{}]}).json == {"predictions": [1.0]}
    for body in ({"instances": [1]}, {"inputs": 1}, {"inputs": [1]}):
        answer = gateway.post(path, json=name | body)
        assert answer.status_code == 400
        assert "expected {}, as this signature has no inputs" in (answer.json or {})["error"]


def test_what_cannot_be_called_is_not_offered(gateway: FlaskClient) -> None:
    """``__saved_model_init_op`` is TensorFlow's own, in metadata and in errors."""
    metadata = gateway.get(f"/v1/models/{NATIVE}/metadata").text
    error = gateway.post(f"/v1/models/{NATIVE}:predict", json={"signature_name": "x", "instances": [1]}).text
    assert "loudness" in metadata
    assert "loudness" in error
    assert "init_op" not in metadata + error
    body = {"signature_name": "__saved_model_init_op", "instances": [1]}
    assert gateway.post(f"/v1/models/{NATIVE}:predict", json=body).status_code == 400


def test_bfloat16_has_its_name_in_metadata(gateway: FlaskClient) -> None:
    """BF16 in the Open Inference Protocol; it is not served."""
    answer = gateway.get(f"/v2/models/{NATIVE}?signature_name=brain")
    assert (answer.json or {})["inputs"] == [{"name": "x", "datatype": "BF16", "shape": [-1]}]
    tensor = {"name": "x", "shape": [1], "datatype": "BF16", "data": [1]}
    answer = gateway.post(
        f"/v2/models/{NATIVE}/infer", json={"inputs": [tensor], "parameters": {"signature_name": "brain"}}
    )
    assert (answer.status_code, "x has type BF16" in (answer.json or {})["error"]) == (400, True)


def test_empty_tensors_are_taken_on_both_protocols(gateway: FlaskClient) -> None:
    """Nothing in, nothing out."""
    assert gateway.post(f"/v1/models/{NATIVE}:predict", json={"inputs": []}).json == {"outputs": []}
    tensor = {"name": "x", "shape": [0], "datatype": "FP32", "data": []}
    answer = gateway.post(f"/v2/models/{NATIVE}/infer", json={"inputs": [tensor]})
    assert answer.json is not None
    assert answer.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [0], "data": []}]
