"""Classify, Regress and MultiInference over serialized examples; codes and words are TensorFlow Serving's."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.tfserving.messages import (
    classification_pb2,
    from_proto,
    inference_pb2,
    input_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from modelyard.services.modelserver.lifecycle import warmup
from tests.support.modelserver import Serve, Served, Store, request, saved, serve, store
from tests.support.modelserver_examples import CLASSIFY, PREDICT, REGRESS, example, examples, save_half_plus_two
from tests.support.waiting import TIMEOUT_S

__all__ = ["saved", "serve", "store"]  # fixtures

INVALID = grpc.StatusCode.INVALID_ARGUMENT
TWO = examples(example(x=2.0, who=b"a"), example(x=4.0, who=b"b"))


@pytest.fixture(scope="session")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base_path = tmp_path_factory.mktemp("half_plus_two")
    save_half_plus_two(base_path / "00000123")
    return base_path


@pytest.fixture
def example_server(serve: Serve, half_plus_two: Path) -> Served:
    served = serve(model_config_file=None, model_name="half_plus_two", model_base_path=half_plus_two)
    served.await_state(123, "AVAILABLE", "half_plus_two")
    return served


def fill_request(message: Any, signature: str, given: input_pb2.Input = TWO) -> Any:
    message.model_spec.name, message.model_spec.signature_name = "half_plus_two", signature
    message.input.CopyFrom(given)
    return message


def classification(signature: str, given: input_pb2.Input = TWO) -> Any:
    return fill_request(classification_pb2.ClassificationRequest(), signature, given)


def regression(signature: str, given: input_pb2.Input = TWO) -> Any:
    return fill_request(regression_pb2.RegressionRequest(), signature, given)


def tasks(*given: tuple[str, str], model: str = "half_plus_two") -> inference_pb2.MultiInferenceRequest:
    message = inference_pb2.MultiInferenceRequest(input=TWO)
    for signature, method in given:
        task = message.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return message


def refusal(call: Any, message: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=TIMEOUT_S)
    return caught.value.code(), caught.value.details()


def test_any_saved_model_in_tensorflow_servings_layout_is_served_by_flags_alone(example_server: Served) -> None:
    """TensorFlow 1, no manifest, leading zeros in the version; found by --model_name and --model_base_path."""
    answer = example_server.prediction.Predict(
        request("half_plus_two", x=np.array([[1], [2]], np.float32)), timeout=TIMEOUT_S
    )
    np.testing.assert_array_equal(from_proto(answer.outputs["y"]), [[2.5], [3]])
    assert answer.model_spec.version.value == 123


def test_shape_that_the_graph_can_take_is_taken(example_server: Served) -> None:
    """Rank 1 into ``[-1,1]``: shapes are not compared with the signature."""
    answer = example_server.prediction.Predict(
        request("half_plus_two", x=np.array([2, 3, 4], np.float32)), timeout=TIMEOUT_S
    )
    np.testing.assert_array_equal(from_proto(answer.outputs["y"]), [3, 3.5, 4])
    assert list(answer.outputs["y"].float_val) == [3, 3.5, 4]


def test_classify_pairs_labels_with_scores(example_server: Served) -> None:
    """One list for each example; where a signature has no labels or no scores they are empty or 0."""
    answer = example_server.prediction.Classify(classification("classify"), timeout=TIMEOUT_S)
    found = [[(item.label, item.score) for item in row.classes] for row in answer.result.classifications]
    assert found == [[("a", 3), ("a", -3)], [("b", 4), ("b", -4)]]
    assert (answer.model_spec.name, answer.model_spec.signature_name) == ("half_plus_two", "classify")
    assert answer.model_spec.version.value == 123
    scores = (
        example_server.prediction.Classify(classification("only_scores"), timeout=TIMEOUT_S)
        .result.classifications[0]
        .classes
    )
    labels = (
        example_server.prediction.Classify(classification("only_classes"), timeout=TIMEOUT_S)
        .result.classifications[0]
        .classes
    )
    assert [(item.label, item.score) for item in (*scores, *labels)] == [("", 3), ("", -3), ("a", 0), ("a", 0)]


def test_regress_gives_one_number_for_each_example(example_server: Served) -> None:
    """Also where the signature calls itself one for Predict: its method is checked only if a flag says so."""
    for signature in ("regress", "untrue"):
        answer = example_server.prediction.Regress(regression(signature), timeout=TIMEOUT_S)
        assert [item.value for item in answer.result.regressions] == [3, 4]


def test_context_belongs_to_every_example_and_yields_to_its_own_features(example_server: Served) -> None:
    """Merged as protobuf merges."""
    given = examples(example(x=2.0), example(x=4.0, who=b"own"), context=example(who=b"all"))
    rows = example_server.prediction.Classify(
        classification("classify", given), timeout=TIMEOUT_S
    ).result.classifications
    assert [row.classes[0].label for row in rows] == ["all", "own"]


def test_multi_inference_returns_all_tasks_in_order(example_server: Served) -> None:
    """One run; each answer names its signature."""
    answer = example_server.prediction.MultiInference(
        tasks(("regress", REGRESS), ("classify", CLASSIFY)), timeout=TIMEOUT_S
    )
    first, second = answer.results
    assert [item.value for item in first.regression_result.regressions] == [3, 4]
    assert second.classification_result.classifications[1].classes[0].label == "b"
    assert [result.model_spec.signature_name for result in answer.results] == ["regress", "classify"]
    assert {result.model_spec.version.value for result in answer.results} == {123}


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (classification("nope"), INVALID, "No signature was found with the name: nope"),
        (classification("", TWO), INVALID, "No classification inputs found in SignatureDef: "),
        (classification("regress"), INVALID, 'contain at least one of "classes" or "scores". Signature was: '),
        (classification("classify", examples()), INVALID, "Input is empty."),
        (classification("classify", input_pb2.Input()), INVALID, "Input is empty."),
        (classification("flat"), INVALID, "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (classification("whole"), INVALID, "Expected scores output batch size of 2. Got: 1"),
        (classification("number_classes"), INVALID, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        (classification("classify", examples(example(who=b"a"))), INVALID, "Feature: x (data type: float) is required"),
        (regression("nope"), INVALID, "No signature was found with the name: nope"),
        (regression("classify"), INVALID, "Expected one output Tensor."),
        (regression("only_scores"), INVALID, "No regression outputs found in SignatureDef: "),
        (regression("wide"), INVALID, "either [batch_size] or [batch_size, 1] but got [2,2]"),
        (regression("text"), INVALID, "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"),
        (tasks(), INVALID, "ModelSpec has no name specified."),
        (tasks(("regress", PREDICT)), grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {PREDICT}"),
        (tasks(("regress", REGRESS), ("regress", REGRESS)), INVALID, "Duplicate evaluation of signature: regress"),
        (tasks(("nope", REGRESS)), INVALID, "Requested signature not found in model graph: nope"),
    ],
)
def test_request_that_does_not_fit_its_signature_is_refused(
    example_server: Served, message: Any, code: grpc.StatusCode, words: str
) -> None:
    """Each in TensorFlow Serving's words."""
    methods = {
        classification_pb2.ClassificationRequest: example_server.prediction.Classify,
        regression_pb2.RegressionRequest: example_server.prediction.Regress,
        inference_pb2.MultiInferenceRequest: example_server.prediction.MultiInference,
    }
    found, text = refusal(methods[type(message)], message)
    assert found == code
    assert words in text


def test_tasks_of_several_models_are_refused(example_server: Served) -> None:
    """One request, one model."""
    message = tasks(("regress", REGRESS), ("classify", CLASSIFY))
    message.tasks[1].model_spec.name = "other"
    words = "All ModelSpecs in a MultiInferenceRequest must access the same model name."
    assert refusal(example_server.prediction.MultiInference, message) == (INVALID, words)


def test_methods_are_compared_if_the_flag_is_set(serve: Serve, half_plus_two: Path) -> None:
    """--enable_signature_method_name_check."""
    flags = {"model_name": "half_plus_two", "model_base_path": half_plus_two}
    served = serve(model_config_file=None, enable_signature_method_name_check=True, **flags)
    served.await_state(123, "AVAILABLE", "half_plus_two")
    words = f"Expected regression signature method_name to be {REGRESS}. Was: {PREDICT}"
    assert refusal(served.prediction.Regress, regression("untrue")) == (INVALID, words)
    assert served.prediction.Regress(regression("regress"), timeout=TIMEOUT_S).result.regressions[0].value == 3


def test_warmup_replays_all_these_kinds(store: Store, serve: Serve, half_plus_two: Path) -> None:
    """And a session's run, which cannot be replayed, refuses the version."""
    logs = [
        prediction_log_pb2.PredictionLog(classify_log={"request": classification("classify")}),
        prediction_log_pb2.PredictionLog(regress_log={"request": regression("regress")}),
        prediction_log_pb2.PredictionLog(multi_inference_log={"request": tasks(("regress", REGRESS))}),
    ]
    saved_model = {1: half_plus_two / "00000123", 2: half_plus_two / "00000123"}
    models = Store(store.root, saved_model)
    models.put("half_plus_two", 1, lambda folder: record(folder, *logs))
    models.put("half_plus_two", 2, lambda folder: record(folder, prediction_log_pb2.PredictionLog(session_run_log={})))
    models.configure(models.entry("half_plus_two", "all {}"))
    served = serve()
    served.await_state(1, "AVAILABLE", "half_plus_two")
    assert served.await_state(2, "END", "half_plus_two").error_code == "UNIMPLEMENTED"


def record(folder: Path, *logs: prediction_log_pb2.PredictionLog) -> None:
    (folder / warmup.FILE).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / warmup.FILE)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
