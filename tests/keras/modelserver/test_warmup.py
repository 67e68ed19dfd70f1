"""Recorded requests: replayed before a version answers, within TensorFlow Serving's limits."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.tfserving.messages import prediction_log_pb2
from modelyard.models.types import Array
from modelyard.services.modelserver.lifecycle import warmup
from tests.support.modelserver import Serve, Store, X, request, saved, serve, served, store

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


def warmup_log(x: Array = X) -> bytes:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(request(x=x))
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
