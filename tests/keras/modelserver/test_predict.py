"""Predictions, metadata and refusals, over gRPC."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from modelyard.models.tfserving.messages import from_proto, get_model_metadata_pb2, predict_pb2, types_pb2
from modelyard.models.types import Array
from tests.support.modelserver import TIMEOUT_S, Served, Store, X, eventually, model_server, request, saved, store

__all__ = ["saved", "store"]  # fixtures

NOT_FOUND, INVALID, PRECONDITION = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
)


@pytest.fixture(scope="module")
def served(saved: Mapping[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of versions 1 and 2 of ``m``, which no test changes."""
    root = tmp_path_factory.mktemp("predict")
    store = Store(root / "store", saved)
    for version in (1, 2):
        store.put("m", version)
    store.configure(store.entry("m", "all {}", {"old": 1}))
    with model_server("apart", store, root) as running:
        eventually(running.is_serving, "ready")
        yield running


def refusal(call: Any, message: Any, timeout: float = TIMEOUT_S) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=timeout)
    return caught.value.code(), caught.value.details()


def test_each_version_returns_its_own_outputs(served: Served) -> None:
    """A pinned request gets that version, and the response names it."""
    for version in (1, 2):
        reply = served.prediction.Predict(request(version=version, x=X), timeout=TIMEOUT_S)
        np.testing.assert_array_equal(from_proto(reply.outputs["y"]), X / 2 + version)
        assert reply.model_spec.version.value == version
        assert reply.model_spec.name == "m"
        assert reply.model_spec.signature_name == "serving_default"


def test_unpinned_request_goes_to_the_highest_available_version(served: Served) -> None:
    """Without a version the highest AVAILABLE one answers."""
    assert served.prediction.Predict(request(x=X), timeout=TIMEOUT_S).model_spec.version.value == 2


def test_label_chooses_the_version_it_is_bound_to(served: Served) -> None:
    """A label from the configuration stands for its version number."""
    assert served.prediction.Predict(request(label="old", x=X), timeout=TIMEOUT_S).model_spec.version.value == 1


def test_batches_of_any_size_return_one_output_per_row(served: Served) -> None:
    """The batch dimension is free, and may be 0."""
    for size in (0, 1, 7, 300):
        x = np.arange(3 * size, dtype=np.float32).reshape(size, 3)
        np.testing.assert_array_equal(served.predict(1, x=x), x / 2 + 1)


def test_repeated_last_value_fills_the_shape(served: Served) -> None:
    """A tensor message may leave out repeated last values (tensor.proto)."""
    message = request(version=1, x=X)
    message.inputs["x"].ClearField("tensor_content")
    message.inputs["x"].float_val.append(4.0)
    np.testing.assert_array_equal(
        from_proto(served.prediction.Predict(message, timeout=TIMEOUT_S).outputs["y"]), [[3, 3, 3]]
    )


def test_strings_go_in_and_come_out_as_bytes(served: Served) -> None:
    """DT_STRING holds any bytes, and may be empty."""
    for texts in ([b"1", b"2.5"], []):
        text = np.array(texts, dtype=object)
        answer = served.client.predict("m", 1, "parse", {"text": text}, timeout_s=TIMEOUT_S)
        assert answer["text"].tolist() == [b"<" + item + b">" for item in texts]


def test_output_filter_returns_only_the_named_outputs(served: Served) -> None:
    """Only the filtered outputs come back."""
    message = request(version=1, x=X)
    message.output_filter.append("version")
    assert list(served.prediction.Predict(message, timeout=TIMEOUT_S).outputs) == ["version"]


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (request("x", version=5, x=X), NOT_FOUND, "Servable not found for request: Specific(x, 5)"),
        (request("m", version=5, x=X), NOT_FOUND, "Servable not found for request: Specific(m, 5)"),
        (request("x", x=X), NOT_FOUND, "Servable not found for request: Latest(x)"),
        (request("", x=X), INVALID, "ModelSpec has no name specified."),
        (request(label="new", x=X), INVALID, "Unrecognized servable version label: new"),
        (request(signature="nope", x=X), PRECONDITION, 'Serving signature key "nope" not found.'),
        (request(x=X.astype(np.int32)), INVALID, "Expects arg[0] to be float but int32 is provided"),
        (
            request(z=X),
            INVALID,
            (
                "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
                "provided. Inputs expected to be in the request {z}, or default input alias set: "
            ),
        ),
        (
            request(x=X, z=X),
            INVALID,
            (
                "input size does not match signature: 2!=1 len({x,z}) != len({x}). "
                "Sent extra: {z}. Missing but required: {}."
            ),
        ),
    ],
)
def test_request_that_does_not_fit_is_refused_with_tensorflow_servings_message(
    served: Served, message: predict_pb2.PredictRequest, code: grpc.StatusCode, text: str
) -> None:
    """Codes and messages are TensorFlow Serving's."""
    assert refusal(served.prediction.Predict, message) == (code, text)


@pytest.mark.parametrize("sizes", [(-1, 3), (2**40, 3), (2, 3)])
def test_tensor_whose_values_cannot_make_its_shape_is_refused(served: Served, sizes: tuple[int, int]) -> None:
    """Negative sizes, shapes that ask for terabytes and contents too short are INVALID_ARGUMENT, not a crash."""
    message = request(version=1, x=X)
    for dimension, size in zip(message.inputs["x"].tensor_shape.dim, sizes, strict=True):
        dimension.size = size
    assert refusal(served.prediction.Predict, message)[0] == INVALID


def test_value_that_the_graph_refuses_returns_the_graphs_message(served: Served) -> None:
    """TensorFlow's code and message reach the client."""
    message = request(signature="parse", text=np.array([b"many"], dtype=object))
    code, text = refusal(served.prediction.Predict, message)
    assert code == INVALID
    assert "StringToNumberOp could not correctly convert string: many" in text


def test_half_precision_comes_out_as_its_bits(served: Served) -> None:
    """As in every TensorProto."""
    answer = served.prediction.Predict(request(signature="half", x=X[0]), timeout=TIMEOUT_S).outputs["half"]
    assert answer.dtype == types_pb2.DT_HALF
    np.testing.assert_array_equal(np.array(answer.half_val, np.uint16).view(np.float16), X[0].astype(np.float16))


@pytest.mark.parametrize("x", [X[:, :2], X[0], np.zeros((2, 5, 3), np.float32)])
def test_shapes_are_left_to_the_graph(served: Served, x: Array) -> None:
    """A graph that can compute with another shape than its signature names does so, as under TensorFlow Serving."""
    np.testing.assert_array_equal(served.predict(1, x=x), x / 2 + 1)


def test_shape_that_the_graph_refuses_is_invalid_argument(served: Served) -> None:
    """INVALID_ARGUMENT with TensorFlow's message; the next call succeeds."""
    code, text = refusal(served.prediction.Predict, request(signature="matrix", x=X[:, :2]))
    assert code == INVALID
    assert "In[0] mismatch In[1] shape" in text or "Matrix size-incompatible" in text
    np.testing.assert_array_equal(served.predict(1), X / 2 + 1)


def test_outputs_can_be_runs_of_bytes(store: Store, tmp_path: Path) -> None:
    """--enable_serialization_as_tensor_content; strings have no such form."""
    store.put("m", 1)
    store.configure(store.entry("m"))
    with model_server("apart", store, tmp_path, enable_serialization_as_tensor_content=True) as served:
        served.await_state(1, "AVAILABLE")
        answer = served.prediction.Predict(request(x=X), timeout=TIMEOUT_S).outputs
        assert answer["y"].tensor_content == (X / 2 + 1).tobytes()
        text = np.array([b"1"], dtype=object)
        found = served.client.predict("m", 1, "parse", {"text": text}, timeout_s=TIMEOUT_S)
        assert found["text"].tolist() == [b"<1>"]


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (["z"], "output tensor alias not found in signature: z Outputs expected to be in the set {version,y}."),
        (["y", "y"], "duplicate output tensor alias: y"),
    ],
)
def test_bad_output_filter_is_refused(served: Served, outputs: list[str], text: str) -> None:
    """Unknown and duplicate outputs are refused as TensorFlow Serving refuses them."""
    message = request(x=X)
    message.output_filter.extend(outputs)
    assert refusal(served.prediction.Predict, message) == (INVALID, text)


def test_long_messages_are_cut_at_1024_characters(served: Served) -> None:
    """As TensorFlow Serving does, with its marker."""
    _, text = refusal(served.prediction.Predict, request(signature="n" * 3000, x=X))
    assert len(text) == 1024 + len("...TRUNCATED")
    assert text.endswith("...TRUNCATED")


def test_metadata_lists_the_signatures_of_the_file(served: Served) -> None:
    """An Any-packed SignatureDefMap, with what cannot be called too."""
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    message.model_spec.name = "m"
    reply = served.prediction.GetModelMetadata(message, timeout=TIMEOUT_S)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert reply.metadata["signature_def"].Unpack(found)
    named = {"serving_default", "explain", "slow", "count", "parse", "half", "matrix"}
    assert set(found.signature_def) == {*named, "__saved_model_init_op"}
    assert [size.size for size in found.signature_def["serving_default"].inputs["x"].tensor_shape.dim] == [-1, 3]
    assert reply.model_spec.version.value == 2


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["graph"], "Metadata field graph is not supported"),
    ],
)
def test_other_metadata_is_refused(served: Served, fields: list[str], text: str) -> None:
    """Only ``signature_def`` exists."""
    message = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    message.model_spec.name = "m"
    assert refusal(served.prediction.GetModelMetadata, message) == (INVALID, text)
