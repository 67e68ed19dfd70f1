"""Makes what systems are tested with, SavedModels and a store: not where tests run, for TensorFlow's sake.

    python -m tests.support.make_models FOLDER

``half_plus_two/00000123`` is named as TensorFlow Serving names its example. ``half_plus/N`` computes x/2 + N, so that
an answer tells which version it is from. ``ratio`` and ``inverse`` divide by their input: 0/0 is NaN, 1/0 is Inf.
``slow`` takes a few microseconds for each step that it is asked for, and ``slow_to_load/8``, which computes as
``half_plus`` does, takes so many of them while it is warmed up. ``sign`` is from ``make_sign_models``, ``imported`` has
what Keras exports and test data for it, and ``known`` is a store with a catalogue, so that workers need not make one.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelyard.models.backend import use_backend

use_backend("tensorflow")

import tensorflow as tf  # noqa: E402  # after the backend is settled
from tensorflow_serving.apis import prediction_log_pb2  # noqa: E402

from modelyard.models.listing import list_all  # noqa: E402
from tests.support import imported_models, make_sign_models  # noqa: E402

VERSIONS = range(1, 8)
SLOW_TO_LOAD = 8
WARMUP_STEPS = 3e6


def save(folder: Path, compute: Callable[[Any], Any], shape: tuple[int | None, ...] = (None,)) -> None:
    """One model with input ``x``, float32, and output ``y``."""
    module = tf.Module()
    module.serve = tf.function(
        lambda x: {"y": compute(x)}, input_signature=[tf.TensorSpec(list(shape), tf.float32, name="x")]
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def half_plus(number: int) -> Callable[[Any], Any]:
    return lambda x: x / 2 + number


def slow(steps: Any) -> Any:
    """The requested steps, after taking them one by one."""
    most = tf.reduce_max(steps)
    taken, _ = tf.while_loop(lambda i, _: i < most, lambda i, s: (i + 1.0, s + tf.sin(s)), (0.0, 1.0))
    return steps * 0 + taken


def save_slow_to_load(folder: Path, number: int) -> None:
    """A version of ``half_plus`` with a warm-up request that takes seconds."""
    module = tf.Module()
    signature = [tf.TensorSpec([None], tf.float32, name="x")]
    module.serve = tf.function(lambda x: {"y": half_plus(number)(x)}, input_signature=signature)
    module.warm = tf.function(lambda x: {"y": slow(x)}, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve, "warm": module.warm})
    record = prediction_log_pb2.PredictionLog()
    record.predict_log.request.model_spec.signature_name = "warm"
    record.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([WARMUP_STEPS]))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(record.SerializeToString())


def make(root: Path) -> None:
    save(root / "half_plus_two" / "00000123", half_plus(2))
    for version in VERSIONS:
        save(root / "half_plus" / str(version), half_plus(version))
    save(root / "ratio" / "1", lambda x: x / x)
    save(root / "inverse" / "1", lambda x: 1 / x)
    save(root / "slow" / "1", slow)
    save_slow_to_load(root / "slow_to_load" / str(SLOW_TO_LOAD), SLOW_TO_LOAD)
    make_sign_models.make(root / "sign")
    imported_models.save_classifier(root / "imported" / "sharp")
    imported_models.save_classifier(root / "imported" / "soft", scale=0.5)
    imported_models.save_test_data(root / "imported" / "test.csv")
    (root / "known").mkdir()
    list_all(root / "known")


def main(folder: str) -> None:
    make(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
