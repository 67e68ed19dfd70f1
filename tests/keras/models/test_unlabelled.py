"""The recipe for GPUs: language models first, then answers that stay the same when a text is moved a little."""

from typing import Any

import keras
import numpy as np
import pytest

from modelyard.models.errors import InvalidRecipe
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.unlabelled import build_language_model, learn_language, measure_virtual_loss
from modelyard.models.text.vocabulary import PADDING, TokenIds
from modelyard.models.zoo.sentiment_lstm import SPEC
from tests.support.reviews import make_splits

TINY = SPEC.recipes["gpu"].override(
    {
        "vocabulary_size": 200,
        "vector_size": 8,
        "filters": 8,
        "units": 8,
        "short_units": 4,
        "max_tokens": 32,
        "contexts": 100,
        "unlabelled": 60,
        "soft_labels": 60,
        "language_samples": 20,
        "language_epochs": 2,
        "statements": 0.2,
        "contrasts": 0,
        "pieces": 0,
        "written": 0,
        "epochs": 2,
        "batch_size": 16,
        "min_steps": 40,
        "learning_rate": 0.01,
    }
)


def alternating(texts: int, length: int) -> ReviewBatches:
    """Texts of ever the same words in a row, from different places on."""
    rows = [(np.arange(length) + start) % 10 + 2 for start in range(texts)]
    starts = np.arange(texts + 1) * length
    return ReviewBatches(TokenIds(np.concatenate(rows).astype(np.int32), starts), np.zeros(texts), 20, seed=0)


@pytest.mark.long
def test_language_is_learned_from_the_order_of_words() -> None:
    """Where one word follows another, it is no surprise after some passes; before, it is one of many."""
    keras.utils.set_random_seed(0)
    batches, vectors = alternating(100, 17), np.random.default_rng(0).normal(size=(12, 8)).astype(np.float32)
    sizes = {"filters": 16, "units": 16}
    state = learn_language(batches, vectors, epochs=2, samples=6, **sizes)
    assert batches.epoch == 0
    assert state["vectors"].shape == vectors.shape
    model = build_language_model(vectors, 6, **sizes)
    before = float(np.mean(model(batches[0][0])))
    model.compile(keras.optimizers.Adam(0.03), loss=lambda _, surprise: keras.ops.mean(surprise))
    model.fit(batches, epochs=20, shuffle=False, verbose=0)
    after = float(np.mean(model(batches[0][0])))
    assert before > 1.0
    assert after < before / 2


def test_a_language_model_reads_a_word_at_a_time() -> None:
    """Steps of four words guess no next word: refused, with what is expected."""
    with pytest.raises(InvalidRecipe, match=r"kernel_size and stride of 1.*received 2 with 5 and 1"):
        SPEC.prepare(make_splits(), TINY.override({"kernel_size": 5}))


def test_the_worst_direction_is_found() -> None:
    """Of a linear answer, the worst step goes along its weights: no other of that length moves it as far."""
    generator = np.random.default_rng(1)
    weights = generator.normal(size=(4, 3)).astype(np.float32)
    vectors = generator.normal(size=(2, 4, 3)).astype(np.float32)
    vectors[:, 3:] = PADDING

    def answer(moved: Any, scale: Any) -> Any:
        return scale * keras.ops.sum(moved * weights, axis=(1, 2))[:, None]

    def loss(distance: float) -> float:
        noise = keras.ops.convert_to_tensor(generator.normal(size=vectors.shape).astype(np.float32))
        return float(measure_virtual_loss(answer, keras.ops.convert_to_tensor(vectors), 0.5, noise, distance))

    log_odds = 0.5 * np.sum(vectors * weights, axis=(1, 2))
    reach = 0.5 * np.linalg.norm(weights[:3]) * 0.3
    assert loss(0.3) == pytest.approx(max_divergence(log_odds, reach), rel=0.2)
    assert loss(1.0) > loss(0.3) > 0


def max_divergence(log_odds: Any, reach: float) -> float:
    """Mean divergence of answers moved by ``reach``, the mean of both ways."""
    p = 1 / (1 + np.exp(-log_odds))
    ways = []
    for moved in (log_odds + reach, log_odds - reach):
        q = 1 / (1 + np.exp(-moved))
        ways.append(np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))
    return float(np.mean(ways))


@pytest.mark.long
def test_the_recipe_learns_and_its_model_is_the_usual_graph() -> None:
    """The loss falls; the trained weights give the same answers in the model without the adversary."""
    keras.utils.set_random_seed(0)
    prepared = SPEC.prepare(make_splits(), TINY)
    model = SPEC.build(TINY, prepared.state)
    learned = prepared.state["language_lstm_0"].astype(np.float32)
    np.testing.assert_array_equal(model.get_layer("lstm").get_weights()[0], learned)
    model.compile(keras.optimizers.Adam(0.01, global_clipnorm=1.0), "binary_crossentropy")
    losses = model.fit(prepared.train, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    plain = SPEC.build(TINY.override({"adversarial": 0}), prepared.state)
    SPEC.build(
        TINY.override({"units": 4}), prepared.state
    )  # a start from this version with other sizes is refused later
    plain.set_weights(model.get_weights())
    ids = prepared.validation[0][0]
    np.testing.assert_array_equal(np.asarray(plain(ids)), np.asarray(model(ids)))
