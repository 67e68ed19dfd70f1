"""The models that write a text: dates to ISO 8601, and what two digits stand where in a picture."""

from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest

from modelyard.models.data import Split
from modelyard.models.datasets import mnist
from modelyard.models.types import Array
from modelyard.models.zoo import captioner, translator
from modelyard.pipeline.job import JobLocations, Rejected, TrainingJob
from modelyard.pipeline.processes.forkserver import ForkServer
from modelyard.pipeline.progress import Progress
from modelyard.pipeline.run import run_job


@pytest.fixture(scope="module")
def dates() -> Array:
    """Some days, each written in one way: all days of the dataset take seconds."""
    generator = np.random.default_rng(0)
    days = generator.integers(translator.FIRST, translator.LAST + 1, 500)
    return np.array([translator.write_date(date.fromordinal(day), generator) for day in days.tolist()], dtype=object)


@pytest.fixture(scope="module")
def pictures() -> Array:
    """Pairs of the digits that are shipped."""
    return captioner.pair_digits(mnist.sample(), train=10, test=50).test.x


def build_wild(module: ModuleType) -> Any:
    """A model with random weights, large enough that every input makes a difference."""
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    model = module.build(module.SPEC.recipes["quick"].override({"units": 16}), {})
    model.set_weights([w + generator.normal(0, 1, w.shape) * (w.ndim > 1) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("module", [translator, pytest.param(captioner, marks=pytest.mark.long)])
def test_an_answer_does_not_depend_on_the_others_of_its_batch(
    module: ModuleType, dates: Array, pictures: Array
) -> None:
    """Greedy decoding, alone and in a batch, writes the same; with large random weights, each input its own text."""
    import tensorflow as tf

    model = build_wild(module)
    x = dates[:24] if module is translator else pictures[:24].astype(np.float32)
    batch = tf.TensorSpec([None, *x.shape[1:]], tf.string if module is translator else tf.float32)
    write = tf.function(module.make_signatures(model, {})["serving_default"], input_signature=[batch])

    def ask(batch: Any) -> list[bytes]:
        return list(write(tf.constant(batch.tolist() if batch.dtype == object else batch))["text"].numpy())

    together = ask(x)
    assert [*ask(x[:7]), *ask(x[7:])] == together
    assert [*ask(x[5:6])] == together[5:6]
    assert len(set(together)) > 10


def test_the_step_by_step_decoder_is_the_one_that_was_trained(dates: Array) -> None:
    """Given the letters that the decoder wrote as the letters before, the model that is fitted writes them again."""
    import tensorflow as tf

    model = build_wild(translator)
    texts = dates[:32]
    written = translator.make_signatures(model, {})["serving_default"](tf.constant(texts.tolist()))["text"].numpy()
    letters = translator.to_letters(np.array([text.decode() for text in written], dtype=object))
    before = np.roll(letters, 1, axis=1)
    before[:, 0] = translator.START
    probabilities = model({"text": translator.to_bytes(texts), "before": before}, training=False)
    np.testing.assert_array_equal(np.asarray(probabilities).argmax(axis=2), letters)


@pytest.mark.long
@pytest.mark.parametrize("model", ["translator", "captioner"])
def test_a_job_that_trains_too_little_is_rejected_for_what_it_writes(
    model: str, tmp_path: Path, forks: ForkServer
) -> None:
    """It learns in twenty steps, and every stage runs: the graph has stock operations only, and writes what the
    model in memory wrote."""
    said: list[Progress] = []
    overrides = {"examples": 640, "units": 16, "epochs": 2}
    job = TrainingJob(model, "quick", overrides, "sample", "stable", "a test")
    outcome = run_job(job, JobLocations(tmp_path / "store", tmp_path, tmp_path / "work", ()), forks, said.append)
    assert isinstance(outcome, Rejected)
    assert outcome.verdict.metric == "exact"
    assert outcome.verdict.value < 0.5
    first, second = (epoch.metrics["val_loss"] for epoch in said if "val_loss" in epoch.metrics)
    assert second < first


# --- data ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_no_day_is_in_two_parts() -> None:
    """And all are in one; no text is longer than what is read."""
    splits = translator.write_dates(Path())
    parts = [splits.train, splits.validation, splits.test]
    days = [day for part in parts for day in part.y]
    assert len(days) == len(set(days)) == translator.LAST - translator.FIRST + 1
    assert max(len(text.encode()) for part in parts for text in part.x) <= translator.LENGTH


def test_every_way_to_write_a_date_is_that_date(dates: Array) -> None:
    """No text is longer than what is read, and years of two digits mean one century."""
    assert max(len(text.encode()) for text in dates) <= translator.LENGTH
    generator = np.random.default_rng(1)
    ways = {translator.write_date(date(2026, 11, 29), generator) for _ in range(10_000)}
    assert {
        *("29 November 2026", "Nov 29, 2026", "29/11/26", "Sunday 29th of November 2026", "11/29/2026"),
        *("2026-11-29", "20261129", "29.11.2026", "the 29th of November, 2026", "29-Nov-26", "29 Nov '26"),
    } <= ways
    early = {translator.write_date(date(1912, 4, 5), generator) for _ in range(2000)}
    assert all("1912" in way for way in early)
    assert "5/4/1912" in early
    assert "4/5/1912" not in early  # the day comes first where both orders are a date


def test_a_text_is_read_as_the_graph_reads_it(dates: Array) -> None:
    """Training and graph see the same bytes: UTF-8, small letters of ASCII, cut off or filled up."""
    import tensorflow as tf

    texts = np.array([*dates[:50], "É" * 30, "", "A" * 100], dtype=object)
    raw = tf.io.decode_raw(tf.strings.lower(tf.constant(texts.tolist())), tf.uint8, fixed_length=translator.LENGTH)
    np.testing.assert_array_equal(translator.to_bytes(texts), raw.numpy())


@pytest.mark.parametrize(
    ("first", "second", "above", "text"),
    [(7, 2, False, "a seven left of a two"), (8, 0, True, "an eight above a zero")],
)
def test_a_picture_is_described_in_words(first: int, second: int, above: bool, text: str) -> None:
    """The digit at the left or at the top comes first; both spellings of the article are used."""
    assert captioner.describe(first, second, above) == text
    words = captioner.to_words(np.array([text], dtype=object))[0]
    assert " ".join(captioner.WORDS[word] for word in words).strip() == text


def test_both_digits_of_a_picture_are_whole() -> None:
    """Each lies where the text says, and no ink of either is cut off or lost."""
    digits = Split(np.zeros((2, 28, 28, 1), np.uint8), np.array([3, 5], np.int32))
    digits.x[0, 4:24, 4:24], digits.x[1, 4:24, 4:24] = 100, 200
    pictures = captioner.draw_pairs(digits, 60, np.random.default_rng(1))
    names = {"three": 100, "five": 200}
    for picture, text in zip(pictures.x, pictures.y, strict=True):
        words = text.split()
        inks = [names[words[1]], names[words[-1]]]
        assert int(picture.astype(int).sum()) == 400 * sum(inks)
        if inks[0] != inks[1]:
            centres = [np.argwhere(picture[..., 0] == ink).mean(axis=0) for ink in inks]
            axis = 0 if "above" in words else 1
            assert centres[0][axis] + 20 <= centres[1][axis]
