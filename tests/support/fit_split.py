"""``python -m tests.support.fit_split BACKEND FOLDER STEP...``: two devices that are one processor.

A process of its own, as backend and devices are settled once in each. Prints one JSON object: by step, what came of it.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.backend import DEFAULT, current_backend, parse_backend, use_backend
from modelyard.models.catalog import load_spec, resolve_recipe
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.reviews import WORDS, random_state

COUNT = 2
XLA_PATIENCE_FLAG = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""XLA ends the process when one device waits 40 s for the other, as it may beside other processes."""
FAST_COMPILATION_FLAG = "--xla_backend_optimization_level=0"
"""A test computes for seconds, and XLA would take longer than that for code as fast as it can be."""
BOTH: Mapping[str, Any] = {"devices": COUNT}
MODEL = "mnist_mlp"
SMALL: Mapping[str, Any] = {"epochs": 3, "min_steps": 60, "batch_size": 64}
SMALL_REVIEWS: Mapping[str, Any] = {"max_tokens": 24, "batch_size": 64, "vector_size": 16, "filters": 16, "units": 8}
AVERAGED: Mapping[str, Any] = {"ema": 0.9, "epochs": 2}
FEW_DIGITS: Mapping[str, Any] = {"epochs": 2, "min_steps": 1, "channels": 4, "sent": 0.2, "ema": 0.9}


class CutOff(BaseException):
    """Nothing below may catch it, as nothing catches SIGKILL."""


def cache_programs(folder: Path) -> None:
    """Has JAX compile once what several steps of this process compute: each begins with a model of its own."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / f"compiled-{os.getpid()}")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def split_processor() -> None:
    if current_backend() == "jax":
        return  # XLA_FLAGS says so
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(COUNT)]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def fit(
    work: Path, overrides: Mapping[str, Any], cut_after: int = 0, model: str = MODEL, name: str = "quick"
) -> dict[str, Any]:
    """One attempt of a model's recipe; cut off when epoch ``cut_after`` has ended, if that comes."""
    from modelyard.models.datasets import mnist
    from modelyard.pipeline.fitting.devices import prepare_devices
    from modelyard.pipeline.progress import Progress
    from modelyard.pipeline.stages.train import train

    epochs = set()

    def report(progress: Progress) -> None:
        epochs.add(progress.epoch)
        if cut_after and progress.epoch == cut_after and progress.step == progress.steps:
            raise CutOff

    spec = load_spec(model)
    recipe = resolve_recipe(spec, name, {**SMALL, "backend": current_backend(), **overrides})
    devices = prepare_devices(recipe)
    work.mkdir(exist_ok=True)
    trained = train(spec, mnist.sample(), recipe, devices, work, work / "checkpoints", report)
    found = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(trained).items()}
    return found | {"device": devices.label, "epochs": sorted(epochs - {None})}


def publish_on_both(root: Path, forks: ForkServer) -> dict[str, Any]:
    """The whole job on both devices."""
    model = "mnist_cnn" if current_backend() == "jax" else MODEL  # one of the two, as compiling it takes a while
    return publish(model, {"devices": COUNT, "min_steps": 100}, root, forks)


def publish(model: str, overrides: Mapping[str, Any], root: Path, forks: ForkServer) -> dict[str, Any]:
    from modelyard.pipeline.job import JobLocations, TrainingJob
    from modelyard.pipeline.run import run_job

    job = TrainingJob(model, "quick", {"backend": current_backend(), **overrides}, "sample", "stable", "a test")
    outcome = run_job(job, JobLocations(root / "store", root / "data", root / "work", ()), forks, lambda _: None)
    manifest = outcome.manifest  # type: ignore[union-attr]
    found = {"environment": manifest.environment.model_dump(), "backend": manifest.recipe.values["backend"]}
    return found | {"state": outcome.state}


def save_outputs(folder: Path, _: ForkServer) -> None:
    """An untrained ``sentiment_lstm`` and its outputs, which another backend must reproduce."""
    import keras

    from modelyard.models.text.vocabulary import pad

    keras.utils.set_random_seed(0)
    spec = load_spec("sentiment_lstm")
    recipe = spec.recipes["quick"]
    state = random_state(recipe.vector_size)
    generator = np.random.default_rng(0)
    ids = pad([generator.integers(1, WORDS, length).astype(np.int32) for length in (0, 1, 3, 8, 31, 64, 200)])
    model = spec.build(recipe, state)
    model.save_weights(folder / "answers.weights.h5")
    said = model.predict_on_batch(ids)
    np.savez(folder / "answers.npz", allow_pickle=False, ids=ids, said=said, **state)


def cut(folder: Path, _: ForkServer) -> None:
    with suppress(CutOff):
        fit(folder / "cut", BOTH, cut_after=2)


STEPS: Mapping[str, Callable[[Path, ForkServer], Any]] = {
    "one": lambda folder, _: fit(folder / "one", {}),
    "two": lambda folder, _: fit(folder / "two", BOTH),
    "averaged": lambda folder, _: fit(folder / "averaged", AVERAGED),
    "averaged by two": lambda folder, _: fit(folder / "averaged by two", {**BOTH, **AVERAGED}),
    "gpu recipe": lambda folder, _: fit(folder / "gpu recipe", FEW_DIGITS, model="mnist_cnn", name="gpu"),
    "answers": save_outputs,
    "published": publish_on_both,
    "reviews": lambda folder, forks: publish("sentiment_lstm", SMALL_REVIEWS, folder, forks),
    "cut": cut,
    "resumed": lambda folder, _: fit(folder / "cut", BOTH),
}


def main(name: str, folder: str, *steps: str) -> None:
    """In a fork of the fork server if it computes with TensorFlow, else in a new process."""
    with ForkServer(fork=name == DEFAULT) as forks:  # first of all: what has computed must not be forked
        flags = (f"--xla_force_host_platform_device_count={COUNT}", XLA_PATIENCE_FLAG, FAST_COMPILATION_FLAG)
        os.environ["XLA_FLAGS"] = " ".join(flags)
        cache_programs(Path(folder))
        use_backend(parse_backend(name))
        split_processor()
        print(json.dumps({step: STEPS[step](Path(folder), forks) for step in steps}))  # noqa: T201  # the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
