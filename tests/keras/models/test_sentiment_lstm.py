"""The reviews' model: batches, word vectors, the linear method, and that an answer depends on its review alone."""

import hashlib
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from modelyard.models.data import Split, Splits
from modelyard.models.errors import InvalidRecipe
from modelyard.models.text import ngrams
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.ngram_vote import NgramVote
from modelyard.models.text.vocabulary import FIRST_WORD, PADDING, TokenIds, encode, learn_vocabulary, pad
from modelyard.models.text.word_vectors import learn_word_vectors, measure_polarity
from modelyard.models.zoo.sentiment_lstm import SPEC, SentimentRecipe, measure_baseline
from modelyard.pipeline.processes.forkserver import ForkServer
from tests.support.reviews import WORDS, random_state

GOOD = ["superb", "moving", "funny", "brilliant", "fine"]
BAD = ["awful", "boring", "dull", "terrible", "weak"]
FILLER = ["the", "film", "plot", "acting", "was", "and", "a", "very", "story", "with"]
TINY = SentimentRecipe(vocabulary_size=200, vector_size=8, filters=8, units=4, max_tokens=32, min_steps=1)


def make_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 2
    texts = []
    for label in labels:
        words = generator.choice(FILLER, generator.integers(3, 40)).tolist()
        words.insert(int(generator.integers(len(words))), str(generator.choice(GOOD if label else BAD)))
        texts.append(" ".join(words))
    return Split(np.array(texts, dtype=object), labels)


@cache
def made_splits() -> Splits:
    return Splits(make_split(200, 0), make_split(40, 1), make_split(100, 2), unlabelled=make_split(60, 3).x)


def batches_of(lengths: list[int], batch_size: int, **options: Any) -> ReviewBatches:
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = TokenIds(np.repeat(np.arange(len(lengths), dtype=np.int32) + 2, lengths), starts)
    return ReviewBatches(ids, np.arange(len(lengths)), batch_size, **options)


def order_of(batches: ReviewBatches) -> list[list[int]]:
    return [batches[index][1][:, 0].astype(int).tolist() for index in range(len(batches))]


# --- batches ------------------------------------------------------------------------------------------------------


def test_order_depends_on_seed_and_epoch_alone() -> None:
    """A resumed run that sets ``epoch`` sees the batches that an uninterrupted one would have seen."""
    lengths = np.random.default_rng(0).integers(1, 90, 100).tolist()
    straight, resumed = batches_of(lengths, 8, seed=5), batches_of(lengths, 8, seed=5)
    epochs = []
    for _ in range(3):
        epochs.append(order_of(straight))
        straight.on_epoch_end()
    resumed.epoch = 2
    assert order_of(resumed) == epochs[2]
    assert epochs[0] != epochs[1]
    assert order_of(batches_of(lengths, 8, seed=6)) != epochs[0]


def test_every_review_is_seen_once_per_pass() -> None:
    """Two passes make an epoch of twice as many batches, each review in it twice, with its own target."""
    batches = batches_of(list(range(1, 51)), 8, seed=0, passes=2)
    assert len(batches) == 14
    seen = sorted(target for batch in order_of(batches) for target in batch)
    assert seen == sorted([*range(50), *range(50)])
    for index in range(len(batches)):
        ids, targets = batches[index]
        np.testing.assert_array_equal(ids[:, 0] - 2, targets[:, 0])


def test_batches_hold_reviews_of_similar_length() -> None:
    """Sorting by length wastes little padding: under a tenth of all ids on lengths like the dataset's."""
    lengths = np.clip(np.random.default_rng(0).lognormal(5.2, 0.6, 2_000), 10, 400).astype(int).tolist()
    batches = batches_of(lengths, 64, seed=0)
    ids = [batches[index][0] for index in range(len(batches))]
    assert np.mean([np.mean(batch == PADDING) for batch in ids]) < 0.1


def test_first_two_batches_differ_in_width() -> None:
    """Keras takes a dimension that the first two batches share for a constant, and later batches would not fit."""
    for seed in range(20):
        batches = batches_of([4] * 30 + [60] * 30, 10, seed=seed)
        assert batches[0][0].shape[1] != batches[1][0].shape[1]


# --- model --------------------------------------------------------------------------------------------------------


@cache
def tiny_model() -> Any:
    keras.utils.set_random_seed(0)
    prepared = SPEC.prepare(made_splits(), TINY)
    return SPEC.build(TINY, prepared.state)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_output_does_not_depend_on_the_batch(stride: int) -> None:
    """A review alone gets the answer it gets beside longer and shorter ones, within 1e-6."""
    keras.utils.set_random_seed(stride)
    recipe = TINY.override({"stride": stride, "units": 16})
    model = SPEC.build(recipe, random_state())
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)  # no bias stays at its harmless 0
    generator = np.random.default_rng(1)
    rows = [generator.integers(1, WORDS, length).astype(np.int32) for length in (0, 1, 3, 4, 5, 8, 9, 31, 64, 200)]
    together = np.asarray(model(pad(rows)))
    alone = np.concatenate([np.asarray(model(pad([row]))) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert np.ptp(alone) > 1e-3


def test_empty_review_has_an_output() -> None:
    """No word at all gives a probability, not NaN."""
    answer = np.asarray(tiny_model()(pad([np.zeros(0, np.int32)])))
    assert answer.shape == (1, 1)
    assert 0 < answer.item() < 1


def test_stride_must_divide_the_padding() -> None:
    """A stride of 3 would make answers depend on padding: refused."""
    with pytest.raises(InvalidRecipe, match="divisor of 8, received 3"):
        SPEC.build(TINY.override({"stride": 3}), random_state())


def test_model_has_no_lambda_and_is_saved_as_data() -> None:
    """The architecture survives JSON, so loading a version runs no code from it."""
    again = keras.models.model_from_json(tiny_model().to_json())
    again.set_weights(tiny_model().get_weights())
    ids = pad([np.array([2, 3, 4], np.int32)])
    np.testing.assert_array_equal(again(ids), tiny_model()(ids))


def test_prepared_state_is_plain_data() -> None:
    """Every array can be stored without pickles, and the vocabulary fits the vectors."""
    state = SPEC.prepare(made_splits(), TINY).state
    assert all(array.dtype != object for array in state.values())
    assert len(state["vectors"]) == FIRST_WORD + len(state["vocabulary"])


def test_soft_labels_extend_the_training_part() -> None:
    """Unlabelled reviews join with a target between the classes; labelled ones keep theirs."""
    prepared = SPEC.prepare(made_splits(), TINY.override({"soft_labels": 60, "batch_size": 10}))
    targets = np.concatenate([prepared.train[index][1] for index in range(len(prepared.train))])
    assert len(targets) == 260
    assert np.count_nonzero((targets > 0) & (targets < 1)) == 60


def test_small_datasets_are_passed_over_until_min_steps() -> None:
    """13 batches, twice per epoch for two epochs, make the 40 required steps."""
    recipe = TINY.override({"min_steps": 40, "epochs": 2, "batch_size": 16})
    assert len(SPEC.prepare(made_splits(), recipe).train) * 2 == 52


def fit_tiny() -> str:
    """SHA-256 of the weights after 30 steps, on one thread."""
    keras.utils.set_random_seed(3)
    recipe = TINY.override({"min_steps": 30, "batch_size": 16, "soft_labels": 60})
    with threadpool_limits(1):
        prepared = SPEC.prepare(made_splits(), recipe)
        model = SPEC.build(recipe, prepared.state)
        model.compile("adam", "binary_crossentropy")
        model.fit(prepared.train, shuffle=False, verbose=0)
    return hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()


def test_same_seed_gives_the_same_weights_in_another_process(forks: ForkServer) -> None:
    """On one thread every weight is equal to the last bit, whatever the process and its hash seed."""
    with forks.start("tests.support.forked", "fit_reviews") as process:
        hash_seed, other = process.stdout.read().decode().split()
    assert hash_seed != str(hash("seed"))
    assert fit_tiny() == other
    assert len(other) == 64


@pytest.mark.parametrize("name", ["quick", "full"])
def test_recipes_are_valid_and_buildable(name: str) -> None:
    """Every shipped recipe builds a model with one probability per review."""
    recipe = SPEC.recipes[name]
    model = SPEC.build(recipe, random_state(recipe.vector_size))
    assert model.output_shape == (None, 1)


# --- word vectors and n-grams -------------------------------------------------------------------------------------


def test_words_used_alike_get_similar_vectors() -> None:
    """Words with the same neighbours lie closer than words with others."""
    texts = [f"{food} tastes sweet" for food in ("apple", "cherry")] * 20
    texts += [f"{tool} hits nails" for tool in ("hammer", "mallet")] * 20
    vocabulary, ids = learn_vocabulary(texts, 50, 2)
    size = FIRST_WORD + len(vocabulary)
    vectors = learn_word_vectors(ids, vocabulary_size=size, dimensions=3, window=2, contexts=50, seed=0)
    of = dict(zip(vocabulary.tolist(), vectors[FIRST_WORD:], strict=True))
    assert of["apple"] @ of["cherry"] > 0.9 > of["apple"] @ of["hammer"] + 0.5
    assert not vectors[:FIRST_WORD].any()


def test_more_dimensions_than_words_are_filled_with_zeros() -> None:
    """A tiny vocabulary still gives vectors of the requested size."""
    _, ids = learn_vocabulary(["a b c a b c", "c b a"], 9, 1)
    vectors = learn_word_vectors(ids, vocabulary_size=5, dimensions=16, window=2, contexts=9, seed=0)
    assert vectors.shape == (5, 16)
    assert np.isfinite(vectors).all()


def test_polarity_is_the_log_count_ratio() -> None:
    """A word of positive reviews is above 0, one of negative reviews as far below, a word of both at 0."""
    ids = TokenIds(np.array([2, 4, 3, 4, 1], np.int32), np.array([0, 2, 5]))
    ratio = measure_polarity(ids, np.array([1, 0]), 5)
    assert ratio[:2].tolist() == [0, 0]
    assert ratio[2] > ratio[4] > ratio[3]


def test_ngrams_stay_within_a_text_and_known_words() -> None:
    """Of two texts, one with an unknown word inside, words and pairs are those a reader would list."""
    ids = TokenIds(np.array([2, 3, 2, 3, 1, 4, 2, 3, 4], np.int32), np.array([0, 6, 9]))
    index, features = ngrams.index_ngrams(ids, 5, min_texts=1)
    assert index.codes.tolist() == [2, 3, 4, 2 * 5 + 3, 3 * 5 + 2, 3 * 5 + 4]
    assert features.toarray().tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 1]]
    assert (index.features(ids) != features).nnz == 0


def test_held_out_log_odds_point_the_right_way() -> None:
    """Texts that a linear model did not see get log-odds that agree with their words."""
    train, other = make_split(200, 0), make_split(100, 9)
    vocabulary, ids = learn_vocabulary(list(train.x), 200, 2)
    model, held_out = ngrams.fit_ngrams(ids, train.y, vocabulary_size=2 + len(vocabulary), folds=4, seed=0)
    assert np.mean((held_out > 0) == train.y) > 0.9
    assert np.mean((model.log_odds(encode(other.x, vocabulary)) > 0) == other.y) > 0.9


def test_graph_gives_the_linear_models_log_odds() -> None:
    """The layer answers as the fitted model does, repetitions, unknown words and an empty review included."""
    train = make_split(200, 0)
    vocabulary, ids = learn_vocabulary(list(train.x), 200, 2)
    size = 2 + len(vocabulary)
    model, _ = ngrams.fit_ngrams(ids, train.y, vocabulary_size=size, folds=2, seed=0)
    texts = encode([*train.x[:20], "superb superb superb film film", "nobody knows these", ""], vocabulary)
    layer = NgramVote(len(model.index.codes), size, share=1.0)
    padded = pad([texts.row(index) for index in range(len(texts))])
    layer(np.zeros((len(texts), 1), np.float32), padded)
    table, bias = model.table()
    layer.set_weights([model.index.codes, table, np.array(bias)])
    answers = np.asarray(layer(np.zeros((len(texts), 1), np.float32), padded))[:, 0]
    np.testing.assert_allclose(answers, model.log_odds(texts), rtol=1e-6, atol=1e-5)


def test_linear_model_is_silent_while_the_lstm_learns() -> None:
    """In training the layer passes on what it is given."""
    layer = NgramVote(3, 9, share=0.5)
    given = np.array([[0.25]], np.float32)
    np.testing.assert_array_equal(layer(given, np.zeros((1, 8), np.int32), training=True), given)


def test_linear_baseline_is_measured_on_the_test_part() -> None:
    """The simple method solves the invented reviews."""
    assert measure_baseline(made_splits()).value > 0.9
