"""Recorded requests: replayed before a version answers, within TensorFlow Serving's limits."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.tfserving.messages import prediction_log_pb2
from modelyard.models.types import Array
from modelyard.services.modelserver.lifecycle import warmup
from tests.support.modelserver import Serve, Store, X, eventually, request, saved, serve, served, store

__all__ = ["saved", "serve", "served", "store"]  # fixtures


def warmed_by(logs: Iterable[bytes]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / warmup.FILE).parent.mkdir()
        with tf.io.TFRecordWriter(str(folder / warmup.FILE)) as writer:
            for log in logs:
                writer.write(log)

    return edit


def damage_last_record(folder: Path) -> None:
    """Changes a byte of the data: its length still matches."""
    warmed_by([warmup_log()])(folder)
    content = bytearray((folder / warmup.FILE).read_bytes())
    content[-10] ^= 1
    (folder / warmup.FILE).write_bytes(content)


def warmup_log(x: Array = X, signature: str = "") -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request(signature=signature, x=x))
    return bytes(log.SerializeToString())


def test_recorded_requests_are_replayed_before_the_version_is_available(store: Store, serve: Serve) -> None:
    """A thousand records are allowed, and each is run."""
    store.put("m", 1, warmed_by([warmup_log()] * 1000))
    store.configure(store.entry("m"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    assert served.runs(1) == 1000


def test_warmup_can_be_switched_off(store: Store, serve: Serve) -> None:
    """``--enable_model_warmup=false`` does not even read the file."""
    store.put("m", 1, warmed_by([b"\xff"]))
    store.configure(store.entry("m"))
    serve(enable_model_warmup=False).await_state(1, "AVAILABLE")


@pytest.mark.parametrize(
    ("edit", "code", "cause"),
    [
        (warmed_by([warmup_log()] * 1001), "INVALID_ARGUMENT", "Number of warmup records exceeds the maximum (1000)"),
        (
            warmed_by([warmup_log(), warmup_log(X.astype(np.int32))]),
            "INVALID_ARGUMENT",
            "warmup record 1 failed: Expects arg[0]",
        ),
        (warmed_by([b"\xff\xff"]), "INVALID_ARGUMENT", "Failed to parse warmup record 0"),
        (
            warmed_by([prediction_log_pb2.PredictionLog(session_run_log={}).SerializeToString()]),
            "UNIMPLEMENTED",
            "session_run_log",
        ),
        (
            lambda folder: (warmed_by([])(folder), (folder / warmup.FILE).write_bytes(b"x" * 40)),
            "DATA_LOSS",
            "corrupted",
        ),
        (damage_last_record, "DATA_LOSS", "corrupted record at 0"),
    ],
)
def test_bad_warmup_file_fails_the_load(
    store: Store, serve: Serve, edit: Callable[[Path], object], code: str, cause: str
) -> None:
    """Too many records, a failing request, and records that cannot be read or replayed refuse the version."""
    store.put("m", 1, edit)
    store.configure(store.entry("m"))
    found = serve().await_state(1, "END")
    assert found.error_code == code
    assert cause in found.error_message


def test_explanations_are_prepared_when_every_version_answers(store: Store, serve: Serve) -> None:
    """They take as long as all else: what waits for them is no answer."""
    for version in (1, 2):
        store.put("m", version, warmed_by([warmup_log(signature="explain"), warmup_log()]))
    store.configure(store.entry("m", "all {}"))
    served = serve()
    for version in (1, 2):
        served.await_state(version, "AVAILABLE")
    eventually(lambda: [served.runs(1), served.runs(2)] == [2, 2], "all requests were replayed")


def test_a_later_version_has_its_explanations_prepared_before_it_answers(store: Store, serve: Serve) -> None:
    """While TensorFlow prepares one signature, runs of all others wait: nobody is answered by it yet."""
    store.put("m", 1)
    store.configure(store.entry("m", "all {}"))
    served = serve()
    served.await_state(1, "AVAILABLE")
    served.predict(1)
    for version in (2, 3):  # the second of them surely comes after the start
        store.put("m", version, warmed_by([warmup_log(signature="explain"), warmup_log()]))
        served.await_state(version, "AVAILABLE")
    assert served.runs(3) == 2


def test_an_explanation_that_fails_keeps_no_version_from_answering(store: Store, serve: Serve) -> None:
    """Nor others from being loaded afterwards."""
    wrong = warmup_log(X.astype(np.int32), "explain")
    store.put("m", 1, warmed_by([wrong, warmup_log()]))
    store.configure(store.entry("m", "all {}"))
    served = serve(max_num_load_retries=0)
    served.await_state(1, "AVAILABLE")
    store.put("m", 2)
    served.await_state(2, "AVAILABLE")
    assert served.predict(1).tolist() == [[1.5, 2, 2.5]]


def test_a_strict_server_prepares_explanations_before(store: Store, serve: Serve) -> None:
    """As TensorFlow Serving, which refuses the version when one fails."""
    store.put("m", 1, warmed_by([warmup_log(signature="explain"), warmup_log()]))
    store.configure(store.entry("m"))
    served = serve(strict=True, max_num_load_retries=0)
    served.await_state(1, "AVAILABLE")
    assert served.runs(1) == 2
