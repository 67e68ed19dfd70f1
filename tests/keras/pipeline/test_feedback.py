"""Feedback joins the dataset: decoded as the graph does it, never what is tested on, and the newest held out."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tensorflow as tf

from modelyard.models.catalog import load_spec
from modelyard.models.data import Split, Splits
from modelyard.models.datasets import mnist
from modelyard.models.registry.store import Store
from modelyard.models.spec import ModelSpec
from modelyard.pipeline.job import JobLocations, Published, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.results import LoadedDataset
from modelyard.pipeline.run import run_job
from modelyard.pipeline.stages.feedback import add_feedback
from tests.support.rehearsals import share_rehearsals

IMAGES, NEURON, REVIEWS = (load_spec(name) for name in ("mnist_mlp", "neuron", "sentiment_lstm"))


def encode_feedback(content: bytes, truth: float, dtype: str = "bytes", shape: Sequence[int] = ()) -> bytes:
    encoded = base64.b64encode(content).decode()
    return orjson.dumps({"dtype": dtype, "shape": shape, "content": encoded, "truth": truth})


def encode_numbers(x: Any, truth: float) -> bytes:
    array = np.asarray(x, np.float32)
    return encode_feedback(array.tobytes(), truth, "float32", array.shape)


def joined(splits: Splits, spec: ModelSpec, lines: Sequence[bytes], tmp_path: Path) -> LoadedDataset:
    file = tmp_path / "feedback.jsonl"
    file.write_bytes(b"\n".join(lines))
    return add_feedback(LoadedDataset("d", "sample", "before", splits), spec, file, lambda _: None)


def points(*x: float) -> Split:
    return Split(np.array(x, np.float32)[:, None], np.array(x, np.float32))


POINTS = Splits(train=points(0.1, 0.2), validation=points(0.3), test=points(0.4))


def test_most_is_trained_on_and_the_newest_is_held_out(tmp_path: Path) -> None:
    """The fingerprint is another one: it tells what a version was trained on."""
    found = joined(POINTS, NEURON, [encode_numbers([n], 2 * n) for n in range(1, 11)], tmp_path)
    assert found.splits.train.x[:, 0].tolist() == pytest.approx([0.1, 0.2, *range(1, 9)])
    assert found.splits.train.y.tolist() == pytest.approx([0.1, 0.2, *range(2, 17, 2)])
    assert found.recent
    assert (found.recent.x[:, 0].tolist(), found.recent.y.tolist()) == ([9, 10], [18, 20])
    assert (found.feedback, found.splits.test) == (8, POINTS.test)
    assert (found.fingerprint != "before", found.splits.train.x.dtype) == (True, np.float32)


def test_what_is_tested_on_is_not_trained_on(tmp_path: Path) -> None:
    """Nor what choices are made on; and what the model does not take is left out."""
    lines = [encode_numbers([0.4], 1), encode_numbers([0.3], 1), encode_numbers([1, 2], 1), encode_numbers([5], 1)]
    found = joined(POINTS, NEURON, lines, tmp_path)
    assert found.splits.train.x[:, 0].tolist() == pytest.approx([0.1, 0.2, 5])


def test_without_feedback_the_dataset_is_as_it_was(tmp_path: Path) -> None:
    """Its fingerprint, too."""
    found = joined(POINTS, NEURON, [], tmp_path)
    assert (found.fingerprint, found.feedback, found.recent) == ("before", 0, None)


def test_images_are_decoded_as_the_served_graph_does_it(tmp_path: Path) -> None:
    """Files of any size, and pixels as numbers."""
    sample = mnist.sample()
    image = sample.train.x[0]
    large = tf.io.encode_png(np.repeat(np.repeat(image, 2, 0), 2, 1)).numpy()
    lines = [encode_feedback(tf.io.encode_png(image).numpy(), 3), encode_feedback(large, 4), encode_numbers(image, 5)]
    found = joined(sample, IMAGES, lines, tmp_path)
    assert found.recent
    added = np.concatenate([found.splits.train.x[len(sample.train) :], found.recent.x])
    assert added.dtype == np.uint8
    assert (added[0] == image).all()
    assert np.abs(added[1].astype(int) - image).mean() < 20
    assert (added[2] == image).all()


def test_texts_are_joined_as_texts(tmp_path: Path) -> None:
    """In UTF-8."""
    texts = np.array(["good", "bad"], dtype=object)
    split = Split(texts, np.array([1, 0], np.int32))
    other = Split(np.array(["else"], dtype=object), np.array([0], np.int32))
    lines = [encode_feedback("très bien".encode(), 1), encode_feedback(b"else", 1)]
    found = joined(Splits(train=split, validation=other, test=other), REVIEWS, lines, tmp_path)
    assert found.splits.train.x.tolist() == ["good", "bad", "très bien"]


def test_a_job_with_feedback_says_so_in_its_version(tmp_path: Path, forks: ForkServer) -> None:
    """How many examples, and how it and the serving version answer the newest of them."""
    file = tmp_path / "feedback.jsonl"
    generator = np.random.default_rng(1)
    file.write_bytes(b"\n".join(encode_numbers([x], 2 * x - 1) for x in generator.uniform(-1, 1, 20).tolist()))
    locations = JobLocations(tmp_path / "store", tmp_path / "data", share_rehearsals(tmp_path / "work"), ())
    job = TrainingJob("neuron", "quick", {"epochs": 2}, "auto", "stable", "test", feedback=file)
    said: list[Progress] = []
    first = run_job(job, locations, forks, said.append)
    assert isinstance(first, Published)
    assert "16 examples from feedback, and the newest 4 to evaluate on" in [progress.message for progress in said]
    assert first.manifest.data.feedback == 16
    assert first.manifest.metrics["feedback_mae"] < 0.2
    second = run_job(replace(job, overrides={"epochs": 2, "seed": 1}), locations, forks, said.append)
    assert isinstance(second, Published)
    assert "on the newest 4 answers with feedback, of the serving version" in second.manifest.verdict.reasons[-1]
    assert Store(locations.store).versions("neuron") == (1, 2)
