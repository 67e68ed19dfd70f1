"""TensorFlow Serving's metrics of our model server, after calls that really ran models."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from modelyard.models.tfserving.messages import inference_pb2
from tests.keras.modelserver.test_examples import TWO, classification, half_plus_two, regression
from tests.support.modelserver import Serve, Served, Store, X, request, saved, serve, store
from tests.support.modelserver_examples import CLASSIFY, REGRESS
from tests.support.ports import free_port
from tests.support.prometheus_text import read_samples
from tests.support.waiting import TIMEOUT_S

__all__ = ["half_plus_two", "saved", "serve", "store"]  # fixtures

PREFIX = ":tensorflow:serving:"
Read = Callable[..., float]


@pytest.fixture
def metrics_flags(tmp_path: Path) -> dict[str, Any]:
    """Flags that show metrics."""
    file = tmp_path / "monitoring.txt"
    file.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }')
    return {"rest_api_port": free_port(), "monitoring_config_file": file}


def reader(metrics_flags: dict[str, Any]) -> Read:
    """Scrapes the server, and finds one number; 0 if there is none."""

    def read(name: str, **labels: str) -> float:
        address = f"http://127.0.0.1:{metrics_flags['rest_api_port']}/monitoring/prometheus/metrics"
        found = read_samples(httpx.get(address, timeout=TIMEOUT_S).text)
        return found.get((PREFIX + name, frozenset(labels.items())), 0)

    return read


def start(serve: Serve, store: Store, **flags: Any) -> Served:
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(**flags)
    served.await_state(1, "AVAILABLE")
    return served


def test_calls_are_counted_by_status_and_timed(serve: Serve, store: Store, metrics_flags: dict[str, Any]) -> None:
    """Of models that are not configured under no name: what callers invent would be series without end."""
    served, read = start(serve, store, **metrics_flags), reader(metrics_flags)
    for _ in range(3):
        served.predict(1)
    for refused in (request(y=X), request(signature="parse", text=np.array([b"many"], object))):
        with pytest.raises(grpc.RpcError):
            served.prediction.Predict(refused, timeout=TIMEOUT_S)
    for model in ("of a caller", ""):
        with pytest.raises(grpc.RpcError):
            served.prediction.Predict(request(model, x=X), timeout=TIMEOUT_S)
    assert read("request_count", model_name="m", status="OK") == 3
    assert read("request_count", model_name="m", status="INVALID_ARGUMENT") == 2
    assert read("request_count", model_name="", status="INVALID_ARGUMENT") == 1
    assert read("request_count", model_name="", status="NOT_FOUND") == 1
    assert read("request_latency_count", model_name="m", API="Predict", entrypoint="GRPC") == 3
    assert read("runtime_latency_count", model_name="m", API="Predict", runtime="TF1") == 3
    whole = read("request_latency_sum", model_name="m", API="Predict", entrypoint="GRPC")
    assert 0 < read("runtime_latency_sum", model_name="m", API="Predict", runtime="TF1") < whole
    assert read("batching_session:queuing_latency_count", thread_pool_name="model_server_batch_threads") == 0


def test_examples_are_counted(serve: Serve, half_plus_two: Path, metrics_flags: dict[str, Any]) -> None:
    """Of the three calls that have any."""
    model = {"model_config_file": None, "model_name": "half_plus_two", "model_base_path": half_plus_two}
    served, read = serve(**model, **metrics_flags), reader(metrics_flags)
    served.await_state(123, "AVAILABLE", "half_plus_two")
    served.prediction.Classify(classification("classify"), timeout=TIMEOUT_S)
    served.prediction.Regress(regression("regress"), timeout=TIMEOUT_S)
    both = inference_pb2.MultiInferenceRequest(input=TWO)
    for signature, method in (("classify", CLASSIFY), ("regress", REGRESS)):
        task = both.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "half_plus_two", signature
    served.prediction.MultiInference(both, timeout=TIMEOUT_S)
    assert read("request_example_count_total", model="half_plus_two") == 6
    assert read("request_example_counts_count", model="half_plus_two") == 3
    for api in ("Classify", "Regress", "MultiInference"):
        assert read("runtime_latency_count", model_name="half_plus_two", API=api, runtime="TF1") == 1


def test_waits_and_sizes_of_batches_are_shown(serve: Serve, store: Store, metrics_flags: dict[str, Any]) -> None:
    """Four rows in three calls are one run, padded to eight; a call that fails there runs by itself."""
    parameters = store.root / "batching.config"
    store.root.mkdir(exist_ok=True)
    parameters.write_text(
        'thread_pool_name { value: "batches" } max_batch_size { value: 8 } allowed_batch_sizes: [8] '
        "batch_timeout_micros { value: 500000 }"
    )
    batching = {"enable_batching": True, "batching_parameters_file": parameters, "grpc_max_threads": 8}
    served, read = start(serve, store, **batching, **metrics_flags), reader(metrics_flags)
    asked = [request(x=np.ones((rows, 3), np.float32)) for rows in (1, 2, 1)]
    for each in asked:
        each.output_filter.append("y")
    calls = [served.prediction.Predict.future(each, timeout=TIMEOUT_S) for each in asked]
    assert {call.code() for call in calls if call.result()} == {grpc.StatusCode.OK}
    runs = read("batching_session:wrapped_run_count")
    assert 1 <= runs <= 3
    assert read("batching_session:queuing_latency_count", thread_pool_name="batches") == 3
    assert read("batching_session:queuing_latency_sum", thread_pool_name="batches") > 0
    assert read("batching_session:input_batch_size_sum") == 4
    assert read("batching_session:processed_batch_size_sum") == 8 * runs
    assert read("batching_session:padding_size_sum", execution_batch_size="8") == 8 * runs - 4


@pytest.mark.parametrize("left_out", ["monitoring_config_file", "rest_api_port"])
def test_nothing_listens_unless_both_flags_say_so(
    serve: Serve, store: Store, metrics_flags: dict[str, Any], left_out: str
) -> None:
    """As by TensorFlow Serving: neither flag by itself, nor a file that turns them off."""
    port, file = metrics_flags["rest_api_port"], metrics_flags["monitoring_config_file"]
    start(serve, store, **{name: value for name, value in metrics_flags.items() if name != left_out}).predict(1)
    file.write_text("prometheus_config { enable: false }")
    serve(**metrics_flags)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
