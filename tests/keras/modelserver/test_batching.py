"""--enable_batching: calls joined into one run, each with the result or error that it would have alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest

from modelyard.models.tfserving.messages import from_proto, predict_pb2, types_pb2
from modelyard.models.types import Array
from modelyard.services.modelserver.batching.batch import Feeds, merge_calls, split_outputs
from modelyard.services.modelserver.batching.batch_queue import BatchThreads
from modelyard.services.modelserver.batching.batched_run import BatchedRun
from modelyard.services.modelserver.batching.parameters import BatchingParameters, parse_parameters
from modelyard.services.modelserver.errors import InvalidConfig, Refused
from modelyard.services.modelserver.runtime.servable import CancelCheck, never_cancelled
from modelyard.services.modelserver.runtime.tensor import STRING, Tensor
from modelyard.services.modelserver.server import ModelServer
from modelyard.services.modelserver.settings import parse_flags
from tests.support.modelserver import (
    HELD_S,
    TIMEOUT_S,
    Serve,
    Served,
    Store,
    X,
    eventually,
    request,
    saved,
    serve,
    store,
)

__all__ = ["saved", "serve", "store"]  # fixtures

SLOWLY = "max_batch_size { value: 8 } batch_timeout_micros { value: 500000 }"
"""A batch of eight rows goes at once, a smaller one after half a second."""
WHEN_FULL = "max_batch_size { value: 8 } batch_timeout_micros { value: 60000000 }"
"""A batch goes when it has eight rows, however long they take to come."""


def batching(store: Store, parameters: str) -> dict[str, object]:
    path = store.root / "batching.config"
    path.parent.mkdir(exist_ok=True)
    path.write_text(parameters)
    return {"enable_batching": True, "batching_parameters_file": path, "grpc_max_threads": 32}


def started(store: Store, serve: Serve, parameters: str) -> Served:
    store.put("m", 1)
    store.configure(store.entry("m"))
    served = serve(**batching(store, parameters))
    served.await_state(1, "AVAILABLE")
    return served


@pytest.fixture
def batched(store: Store, serve: Serve) -> Served:
    return started(store, serve, SLOWLY)


@pytest.fixture
def full_batches(store: Store, serve: Serve) -> Served:
    return started(store, serve, WHEN_FULL)


def request_y(x: Array) -> predict_pb2.PredictRequest:
    message = request(x=x)
    message.output_filter.append("y")
    return message


def test_calls_run_together_and_each_gets_its_own_rows(full_batches: Served) -> None:
    """Eight rows in five calls are one run."""
    before = full_batches.runs(1)
    xs = [np.full((rows, 3), rows, np.float32) for rows in (1, 2, 1, 3, 1)]
    calls = [full_batches.prediction.Predict.future(request_y(x), timeout=TIMEOUT_S) for x in xs]
    for call, x in zip(calls, xs, strict=True):
        np.testing.assert_array_equal(from_proto(call.result().outputs["y"]), x / 2 + 1)
    assert full_batches.runs(1) == before + 1


def test_one_failing_call_fails_alone(full_batches: Served) -> None:
    """Its neighbours in the batch succeed."""
    texts = [b"1", b"2", b"many", b"4", b"5", b"6", b"7", b"8"]
    calls = [
        full_batches.prediction.Predict.future(
            request(signature="parse", text=np.array([text], dtype=object)), timeout=TIMEOUT_S
        )
        for text in texts
    ]
    answers = [None if call.exception() else from_proto(call.result().outputs["number"]).item() for call in calls]
    assert answers == [1, 2, None, 4, 5, 6, 7, 8]
    assert calls[2].code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "could not correctly convert string: many" in calls[2].details()


def test_calls_that_cannot_be_joined_run_apart(batched: Served) -> None:
    """Other inner dimensions, no rows at all, outputs without rows: the same result as without batching."""
    xs = [np.ones((1, width), np.float32) for width in (1, 3, 1, 3)]
    calls = [batched.prediction.Predict.future(request_y(x), timeout=TIMEOUT_S) for x in xs]
    for call, x in zip(calls, xs, strict=True):
        np.testing.assert_array_equal(from_proto(call.result().outputs["y"]), x / 2 + 1)
    assert batched.client.predict("m", 1, "slow", {"steps": np.array(3, np.int32)}, timeout_s=TIMEOUT_S)["version"] == 1
    for _ in range(2):
        assert batched.client.predict("m", 1, "serving_default", {"x": X}, timeout_s=TIMEOUT_S)["version"] == 1


def test_call_larger_than_any_batch_is_refused(batched: Served) -> None:
    """In the batch scheduler's words."""
    with pytest.raises(grpc.RpcError) as caught:
        batched.prediction.Predict(request_y(np.ones((9, 3), np.float32)), timeout=TIMEOUT_S)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Task size 9 is larger than maximum input batch size 8"


def test_versions_choose_for_themselves_with_per_model_parameters(store: Store, serve: Serve) -> None:
    """With batching_params.pbtxt a version joins calls, without it does not, and a broken one refuses the version."""
    write: Callable[[str], Callable[[Path], object]] = lambda text: (  # noqa: E731
        lambda folder: (folder / "batching_params.pbtxt").write_text(text)
    )
    store.put("m", 1, write("max_batch_size { value: 1 }"))
    store.put("m", 2)
    store.put("m", 3, write("max_batch_size: many"))
    store.configure(store.entry("m", "all {}"))
    served = serve(**batching(store, SLOWLY), enable_per_model_batching_parameters=True)
    served.await_state(2, "AVAILABLE")
    served.await_state(1, "AVAILABLE")
    two_rows = request_y(np.ones((2, 3), np.float32))
    two_rows.model_spec.version.value = 2
    served.prediction.Predict(two_rows, timeout=TIMEOUT_S)
    two_rows.model_spec.version.value = 1
    with pytest.raises(grpc.RpcError, match="larger than maximum input batch size 1"):
        served.prediction.Predict(two_rows, timeout=TIMEOUT_S)
    found = served.await_state(3, "END")
    assert found.error_code == "INVALID_ARGUMENT"
    assert "batching_params.pbtxt: not a text-format BatchingParameters" in found.error_message


def test_server_with_unreadable_parameters_does_not_start(tmp_path: Path) -> None:
    """The reason is given at start."""
    flags = [f"--model_base_path={tmp_path}", "--enable_batching", "--batching_parameters_file=/nowhere", "--port=0"]
    with pytest.raises(InvalidConfig, match="cannot read batching parameters"):
        ModelServer(parse_flags(flags), on_failure=lambda: None).start()


def test_parameters_are_read_as_tensorflow_serving_reads_them() -> None:
    """What is left out has the scheduler's default."""
    text = """max_batch_size { value: 32 } batch_timeout_micros { value: 0 } max_enqueued_batches { value: 7 }
              num_batch_threads { value: 2 } thread_pool_name { value: "t" } allowed_batch_sizes: 8
              allowed_batch_sizes: 32 pad_variable_length_inputs: true"""
    assert parse_parameters(text) == BatchingParameters(32, 0, 7, 2, "t", (8, 32), pad_variable_length_inputs=True)
    assert parse_parameters("").max_batch_size == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 3", "not a text-format BatchingParameters: 1:"),
        ("rows { value: 3 }", 'has no field named "rows"'),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be at least 1, received 0"),
        ("allowed_batch_sizes: 8 allowed_batch_sizes: 4", "must be positive and ascending, received .8, 4."),
        (
            "max_batch_size { value: 9 } allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 9",
        ),
    ],
)
def test_parameters_that_break_a_rule_are_refused_with_the_rule(text: str, words: str) -> None:
    """By name and value."""
    with pytest.raises(InvalidConfig, match=words):
        parse_parameters(text)


# --- without TensorFlow ---------------------------------------------------------------------------------------------


class Doubling:
    """A run that doubles, once it is released; notes the number of rows of every run."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.rows: list[int] = []

    def __call__(self, feeds: Feeds, fetches: tuple[str, ...], waiting: CancelCheck) -> list[Tensor]:
        del fetches
        waiting()
        x = feeds["x"]
        self.rows.append(x.shape[0])
        assert self.go.wait(HELD_S)
        return [Tensor(x.dtype, x.shape, (2 * np.frombuffer(x.raw, np.float32)).tobytes())]


@pytest.fixture
def pool() -> Iterator[futures.ThreadPoolExecutor]:
    with futures.ThreadPoolExecutor(8) as threads:
        yield threads


def floats(*rows: Sequence[float]) -> Tensor:
    array = np.array(rows, np.float32)
    return Tensor(types_pb2.DT_FLOAT, array.shape, array.tobytes())


def expired() -> None:
    raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")


def test_calls_nobody_waits_for_are_left_out_and_a_full_queue_refuses(pool: futures.ThreadPoolExecutor) -> None:
    """One thread is busy; behind it one batch may wait, of two rows at most, filled up to an allowed size."""
    parameters = BatchingParameters(2, 0, 1, 1, allowed_batch_sizes=(2,))
    doubling = Doubling()
    run = BatchedRun(doubling, parameters, BatchThreads(parameters))
    first = pool.submit(run, {"x": floats([1])}, ("y",), never_cancelled)
    eventually(lambda: doubling.rows == [2], "the first runs")
    late = pool.submit(run, {"x": floats([2])}, ("y",), expired)
    eventually(lambda: run.queued_rows == 1, "one waits")
    second = pool.submit(run, {"x": floats([3])}, ("y",), never_cancelled)
    eventually(lambda: run.queued_rows == 2, "two wait")
    with pytest.raises(Refused, match="The batch scheduling queue") as caught:
        run({"x": floats([4])}, ("y",), never_cancelled)
    assert caught.value.code == grpc.StatusCode.UNAVAILABLE
    doubling.go.set()
    assert np.frombuffer(first.result(TIMEOUT_S)[0].raw, np.float32).tolist() == [2]
    assert np.frombuffer(second.result(TIMEOUT_S)[0].raw, np.float32).tolist() == [6]
    with pytest.raises(Refused, match="too late"):
        late.result(TIMEOUT_S)
    assert doubling.rows == [2, 2]


def test_shorter_inputs_are_filled_up_with_their_first_element() -> None:
    """pad_variable_length_inputs, for numbers and strings."""
    whole = merge_calls([{"x": floats([1, 2])}, {"x": floats([3, 4, 5], [6, 7, 8])}], 4, padded=True)["x"]
    assert np.frombuffer(whole.raw, np.float32).reshape(whole.shape).tolist() == [
        *([1, 2, 1], [3, 4, 5]),
        *([6, 7, 8], [3, 4, 5]),
    ]
    one, two = Tensor(STRING, (1, 1), [b"a"]), Tensor(STRING, (1, 2), [b"b", b"c"])
    assert merge_calls([{"x": one}, {"x": two}], 2, padded=True)["x"].strings == [b"a", b"a", b"b", b"c"]


def test_outputs_without_a_row_for_each_input_row_cannot_be_split() -> None:
    """Scalars, and sums over the batch."""
    assert split_outputs([Tensor(types_pb2.DT_FLOAT, (), bytes(4))], [1, 1], 2) is None
    assert split_outputs([floats([1])], [1, 1], 2) is None
