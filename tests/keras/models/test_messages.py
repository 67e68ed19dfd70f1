"""TensorFlow Serving's messages first, TensorFlow itself later, in one process."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import tensorflow as tf

from modelyard.models.tfserving.messages import from_proto, predict_pb2, to_proto

MESSAGES_ALONE = """
import sys
from importlib.util import find_spec
import modelyard.models.tfserving.messages
print("tensorflow" in sys.modules, find_spec("tensorflow").origin)
"""
BOTH = """
import sys
from modelyard.models.tfserving.messages import from_proto, predict_pb2, to_proto
assert "tensorflow" not in sys.modules
import tensorflow as tf
request = predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
print(from_proto(request.inputs["x"]).tolist(), tf.make_ndarray(to_proto(from_proto(request.inputs["x"]))).tolist())
"""


def run(code: str) -> str:
    """What a new process prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_stand_in_is_gone_when_the_messages_are_there() -> None:
    """An import of TensorFlow would find the real one."""
    real = find_spec("tensorflow")
    assert real
    assert run(MESSAGES_ALONE) == f"False {real.origin}"


def test_messages_are_the_same_classes_on_both_sides() -> None:
    request = predict_pb2.PredictRequest()
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
    given = from_proto(request.inputs["x"])
    assert given.tolist() == tf.make_ndarray(to_proto(np.array([1.0, 2.0], np.float32))).tolist() == [1.0, 2.0]


@pytest.mark.long
def test_the_real_tensorflow_can_be_loaded_after_its_messages() -> None:
    """The stand-in is gone by then, and both sides' messages are the same classes."""
    assert run(BOTH) == "[1.0, 2.0] [1.0, 2.0]"
