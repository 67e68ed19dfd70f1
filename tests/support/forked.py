"""What the tests of the fork server run in forks."""

import os
import runpy
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.pipeline.processes.forkserver import ForkServer


def main(what: str, *arguments: str) -> None:
    """Does one of the following, and ends as that does."""
    PARTS[what](*arguments)


def print_words(*words: Any) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def echo() -> None:
    """Standard input to standard output."""
    sys.stdout.write(sys.stdin.read())


def leave(status: str) -> None:
    sys.exit(int(status) if status.isdigit() else status)


def fail() -> None:
    raise RuntimeError("as nobody expected")


def describe() -> None:
    """What a fork is born with."""
    print_words("leads a group:", os.getpgrp() == os.getpid())
    print_words("has Keras:", "keras" in sys.modules)
    print_words("sees GPUs:", bool(os.environ["CUDA_VISIBLE_DEVICES"]))
    print_words("threads:", len(list(Path("/proc/self/task").iterdir())), threading.active_count())
    print_words("has JAX:", "jaxlib" in sys.modules)


def number() -> None:
    print_words(np.random.random())  # this generator is what the test reads


def compute() -> None:
    """TensorFlow's first operations in this process, on more threads than one."""
    import tensorflow as tf

    numbers = tf.data.Dataset.range(100).map(lambda x: x, num_parallel_calls=4).batch(100).get_single_element()
    print_words(int(tf.reduce_sum(numbers)))


def compute_in_group(group: str) -> None:
    print_words("in the same group:", os.getpgrp() == int(group))
    compute()


def nest() -> None:
    """A fork of a fork, of a server that is a fork."""
    with ForkServer(fork=True) as forks:
        with forks.start("tests.support.forked", "compute_in_group", str(os.getpgrp())) as process:
            output = process.stdout.read().decode()
        sys.stdout.write(output)
    compute()


def leave_files(how: str) -> None:
    """Temporary files that nobody removes, as TensorFlow's of graphs that it has traced."""
    with tempfile.NamedTemporaryFile(delete=False) as left:
        print_words(left.name, tempfile.mkdtemp())
    if how == "hang":
        time.sleep(600)


def hang() -> None:
    print_words("hanging")
    time.sleep(600)


def fit_reviews(work: str) -> None:
    """On one thread, as the test's own process."""
    from modelyard.pipeline.stages.publish import hash_weights
    from tests.keras.conftest import use_one_thread
    from tests.support import fitting

    use_one_thread()
    print_words(hash("seed"), hash_weights(fitting.fit_reviews(Path(work)).weights))


def run_pipeline(*arguments: str) -> None:
    """``python -m modelyard.pipeline``."""
    sys.argv = ["modelyard.pipeline", *arguments]
    runpy.run_module("modelyard.pipeline", run_name="__main__")


PARTS = {
    part.__name__: part
    for part in (
        *(echo, leave, fail, describe, number, compute),
        *(compute_in_group, nest, leave_files, hang, fit_reviews, run_pipeline),
    )
}
