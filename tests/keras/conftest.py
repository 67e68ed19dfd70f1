"""Tests that compute: one thread, fixed before TensorFlow's first operation, as training does it."""

from modelyard.models.backend import use_backend

use_backend("tensorflow")

import tensorflow as tf  # noqa: E402  # after the backend is settled

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
