"""TensorFlow's start-up, kept out of the way until the port is bound."""

import gc
import os

from modelyard.models.tfserving.messages import config_pb2
from modelyard.services.modelserver.runtime.saved_model import Runtime
from modelyard.services.modelserver.runtime.tensorflow_c import TensorFlowC, library_path

CALLERS_THREAD = -1
"""``RunOptions.inter_op_thread_pool``: run every operation in the thread that calls."""


def start(intra_op_threads: int, inter_op_threads: int) -> Runtime:
    """Loads the TensorFlow library.

    0 threads is our choice, made by measurement: one thread within an operation, and operations one after another in
    the thread of the call. Calls then run side by side on as many cores as there are, and none pays for hand-overs
    between threads (docs/decisions/0010). More threads serve a single large call sooner.

    What is alive now is moved out of the garbage collector's sight: it stays for good.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=intra_op_threads or 1,
        inter_op_parallelism_threads=inter_op_threads or 1,
        gpu_options=config_pb2.GPUOptions(allow_growth=True),  # a trainer may need the rest of the GPU's memory
    )
    options = config_pb2.RunOptions(inter_op_thread_pool=0 if inter_op_threads else CALLERS_THREAD)
    runtime = Runtime(TensorFlowC(library_path()), config.SerializeToString(), options.SerializeToString())
    gc.collect()
    gc.freeze()
    return runtime
