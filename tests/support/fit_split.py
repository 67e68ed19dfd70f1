"""``python -m tests.support.fit_split BACKEND FOLDER STEP...``: two devices that are one processor.

A process of its own, as backend and devices are settled once in each. Prints one JSON object: by step, what came of it.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from modelyard.models.backend import DEFAULT, current_backend, parse_backend, use_backend
from modelyard.models.catalog import load_spec, resolve_recipe
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.rehearsals import SoundModels
from tests.support.reviews import WORDS, random_state

COUNT = 2
XLA_PATIENCE_FLAG = "--xla_cpu_collective_call_terminate_timeout_seconds=600"
"""XLA ends the process when one device waits 40 s for the other, as it may beside other processes."""
FAST_COMPILATION_FLAG = "--xla_backend_optimization_level=0"
"""A test computes for seconds, and XLA would take longer than that for code as fast as it can be."""
BOTH: Mapping[str, Any] = {"devices": COUNT}
MODEL = "mnist_mlp"
SMALL: Mapping[str, Any] = {"epochs": 3, "min_steps": 60, "batch_size": 64}
FEW_DIGITS: Mapping[str, Any] = {"epochs": 2, "min_steps": 1, "channels": 4, "sent": 0.2, "ema": 0.9}
REVIEWS_ALONE: Mapping[str, Any] = {"statements": 0, "contrasts": 0, "pieces": 0, "written": 0}
FEW_STEPS: Mapping[str, Any] = {"ngram_share": 0.9, "max_tokens": 16, "batch_size": 64}
SMALL_REVIEWS = {**REVIEWS_ALONE, **FEW_STEPS, "vector_size": 8, "filters": 8, "units": 4, "short_units": 4}


def cache_programs(folder: Path) -> None:
    """Has JAX compile once what several steps compute, in this process or another: each has a model of its own."""
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "compiled")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def split_processor() -> None:
    if current_backend() == "jax":
        return  # XLA_FLAGS says so
    import tensorflow as tf

    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(COUNT)]
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)


def fit(work: Path, overrides: Mapping[str, Any], model: str = MODEL, name: str = "quick") -> dict[str, Any]:
    """One attempt of a model's recipe. On JAX with averaged weights: only there do several devices average."""
    from modelyard.models.datasets import mnist
    from modelyard.pipeline.fitting.devices import prepare_devices
    from modelyard.pipeline.progress import Progress
    from modelyard.pipeline.stages.train import train

    epochs = set()

    def report(progress: Progress) -> None:
        epochs.add(progress.epoch)

    spec, backend = load_spec(model), current_backend()
    averaged = {"ema": 0.9} if backend == "jax" else {}
    recipe = resolve_recipe(spec, name, {**SMALL, **averaged, "backend": backend, **overrides})
    devices = prepare_devices(recipe)
    work.mkdir(exist_ok=True)
    trained = train(spec, mnist.sample(), recipe, devices, work, work / "checkpoints", report)
    found = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(trained).items()}
    return found | {"device": devices.label, "epochs": sorted(epochs - {None})}


def resume(folder: Path, _: ForkServer) -> dict[str, Any]:
    """Goes on from what is there when a training on both was cut off behind its second epoch."""
    shutil.copytree(folder / "two" / "checkpoints", folder / "cut" / "checkpoints")
    shutil.rmtree(folder / "cut" / "checkpoints" / "epoch-0003")
    return fit(folder / "cut", BOTH)


def publish_on_both(root: Path, forks: ForkServer) -> dict[str, Any]:
    """The whole job on both devices."""
    if current_backend() == "jax":  # one of the two, as compiling it takes a while
        return publish("mnist_cnn", {"devices": COUNT, "min_steps": 150, "channels": 4, "sent": 0}, root, forks)
    return publish(MODEL, {"devices": COUNT, "min_steps": 100}, root, forks)


def publish(model: str, overrides: Mapping[str, Any], root: Path, forks: ForkServer) -> dict[str, Any]:
    from modelyard.pipeline.job import JobLocations, TrainingJob
    from modelyard.pipeline.run import run_job

    job = TrainingJob(model, "quick", {"backend": current_backend(), **overrides}, "sample", "stable", "a test")
    kind = SoundModels if current_backend() == "jax" else JobLocations  # what rehearses is on TensorFlow on either
    locations = kind(root / "store", root / "data", root / "work", ())
    outcome = run_job(job, locations, forks, lambda _: None)
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


STEPS: Mapping[str, Callable[[Path, ForkServer], Any]] = {
    "one": lambda folder, _: fit(folder / "one", {}),
    "two": lambda folder, _: fit(folder / "two", BOTH),
    "gpu recipe": lambda folder, _: fit(folder / "gpu recipe", FEW_DIGITS, model="mnist_cnn", name="gpu"),
    "answers": save_outputs,
    "published": publish_on_both,
    "reviews": lambda folder, forks: publish("sentiment_lstm", SMALL_REVIEWS, folder, forks),
    "resumed": resume,
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
