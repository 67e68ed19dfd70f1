"""TensorFlow Serving's messages first, TensorFlow itself later, in one process."""

import subprocess
import sys

CODE = """
import sys
from modelyard.models.tfserving.messages import from_proto, predict_pb2, to_proto
assert "tensorflow" not in sys.modules
import tensorflow as tf
request = predict_pb2.PredictRequest()
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0, 2.0]))
print(from_proto(request.inputs["x"]).tolist(), tf.make_ndarray(to_proto(from_proto(request.inputs["x"]))).tolist())
"""


def test_the_real_tensorflow_can_be_loaded_after_its_messages() -> None:
    """The stand-in is gone by then, and both sides' messages are the same classes."""
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[1.0, 2.0] [1.0, 2.0]"
