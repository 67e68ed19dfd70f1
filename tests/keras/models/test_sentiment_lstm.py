"""The reviews' model: batches, word vectors, the linear method, and that an answer depends on its review alone."""

from dataclasses import replace
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest

from modelyard.models.errors import InvalidRecipe
from modelyard.models.text.batches import ReviewBatches
from modelyard.models.text.hashed_ngrams import UP_TO_THREE, index_hashed
from modelyard.models.text.ngrams import NgramModel
from modelyard.models.text.parts import HasWord, HeadAndTail, WeighParts, WordVectors, list_learned, turning_ids
from modelyard.models.text.short_texts import CERTAINTY
from modelyard.models.text.vocabulary import (
    FIRST_WORD,
    PADDING,
    UNKNOWN,
    TokenIds,
    pad,
    truncate,
)
from modelyard.models.zoo.sentiment_lstm import SPEC, measure_baseline
from tests.support.fitting import TINY
from tests.support.reviews import WORDS, make_splits, random_state


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
    prepared = SPEC.prepare(make_splits(), TINY)
    return SPEC.build(TINY, prepared.state)


@pytest.mark.parametrize("stride", [*(pytest.param(each, marks=pytest.mark.long) for each in (1, 2, 4)), 8])
def test_output_does_not_depend_on_the_batch(stride: int) -> None:
    """A review alone gets the answer it gets beside longer and shorter ones, within 1e-6."""
    keras.utils.set_random_seed(stride)
    recipe = TINY.override({"stride": stride, "units": 16})
    model = SPEC.build(recipe, random_state())
    for variable in model.trainable_variables:
        variable.assign(variable + 0.1)  # no bias stays at its harmless 0
    generator = np.random.default_rng(1)
    rows = [generator.integers(1, WORDS, length).astype(np.int32) for length in (0, 1, 3, 4, 5, 8, 9, 31, 40, 64, 200)]
    together = np.asarray(model(pad(rows)))
    alone = np.concatenate([np.asarray(model(pad([row]))) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert np.ptp(alone) > 1e-3


def test_training_changes_the_vectors_of_some_words_alone() -> None:
    """Of ids that are not among the learned ones the vector stays as it was, whatever is learned of others."""
    layer = WordVectors(6, 4, 2)
    vectors = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    ids = np.arange(6, dtype=np.int32)[None]
    layer(ids)
    layer.fill(vectors, np.array([1, 4], np.int32))
    np.testing.assert_array_equal(layer(ids)[0], vectors)
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(2, 4)]
    layer.changes.assign(np.array([[1.0] * 4, [2.0] * 4]))
    moved = np.asarray(layer(ids)[0]) - vectors
    np.testing.assert_allclose(moved[:, 0], [0, 1, 0, 0, 2, 0], atol=1e-6)


def test_learned_words_are_the_most_frequent_and_those_of_rules() -> None:
    vocabulary = np.array(["zygote", "film", "qwrtz", "dreadful", "xylem"])
    assert list_learned(vocabulary, 1).tolist() == [0, 1, 2, 3, 5]
    assert list_learned(vocabulary, 9).tolist() == list(range(7))


def test_who_knows_no_word_has_no_opinion() -> None:
    """No word at all, and unknown ones alone: one half; among known words, an unknown one leaves an opinion."""
    rows = [np.zeros(0, np.int32), np.full(3, UNKNOWN, np.int32), np.full(40, UNKNOWN, np.int32)]
    np.testing.assert_array_equal(np.asarray(tiny_model()(pad(rows))), np.full((3, 1), 0.5, np.float32))
    state = {**random_state(), "vocabulary": np.array(["?", *(f"word{number}" for number in range(WORDS - 3))])}
    marks = np.full(4, FIRST_WORD, np.int32)
    assert np.asarray(SPEC.build(TINY, state)(pad([marks]))).item() == 0.5
    mixed = np.array([2, 3, UNKNOWN, 4, 5, 6], np.int32)
    assert abs(np.asarray(tiny_model()(pad([mixed]))).item() - 0.5) > 1e-4


def test_lstm_reads_the_head_and_tail_of_a_long_review() -> None:
    """Inside the model, long rows are cut as ``truncate`` cuts texts; the rest of a batch changes nothing."""
    texts = TokenIds(np.arange(1, 241, dtype=np.int32), np.array([0, 3, 35, 40, 140, 240]))
    cut = truncate(texts, 32)
    found = np.asarray(HeadAndTail(32)(pad([texts.row(index) for index in range(len(texts))])))
    np.testing.assert_array_equal(found, pad([cut.row(index) for index in range(len(cut))]))


def test_training_reads_sentences_once() -> None:
    """What is too short to be a review is padding to the reviews' part in training, and in answers is not."""
    rows = [np.arange(2, 5, dtype=np.int32), np.arange(2, 12, dtype=np.int32)]
    layer, together = HeadAndTail(32, unread=4), pad([*rows, rows[0]])
    np.testing.assert_array_equal(np.asarray(layer(together)), together)
    np.testing.assert_array_equal(np.asarray(layer(together, training=True)), pad([rows[0][:0], rows[1], rows[0][:0]]))
    wide = pad([rows[0], np.arange(2, 6, dtype=np.int32), np.zeros(0, np.int32)])
    assert not np.asarray(layer(np.pad(wide, ((0, 0), (0, 40))), training=True)).any()
    assert np.asarray(layer(np.pad(wide, ((0, 0), (0, 40))), training=True)).shape == (3, 8)


def test_parts_are_heard_by_length_and_by_what_turns_a_text() -> None:
    """A review's part has a third in plain sentences, nothing where "not" stands, all in reviews; it learns alone."""
    review, sentence = np.full((4, 1), 3.0, np.float32), np.zeros((4, 1), np.float32)
    long = np.array([[0], [0], [0.5], [1]], np.float32)
    find = HasWord(turning_ids(np.array(["film", "good", "not", "plot"])))
    turned = find(np.array([[2, 3], [4, 0], [2, 5], [4, 2]], np.int32))
    assert np.asarray(turned)[:, 0].tolist() == [0, 1, 0, 1]
    weigh = WeighParts(1 / 3)
    np.testing.assert_allclose(np.asarray(weigh(review, sentence, long, turned))[:, 0], [1, 0, 1.5, 3], rtol=1e-6)
    learning = weigh(review, sentence, long, turned, training=True)
    np.testing.assert_allclose(np.asarray(learning)[:, 0], [0, 0, 1.5, 3], rtol=1e-6)


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
    state = SPEC.prepare(make_splits(), TINY).state
    assert all(array.dtype != object for array in state.values())
    assert len(state["vectors"]) == FIRST_WORD + len(state["vocabulary"])


def test_a_version_that_knew_pairs_only_is_no_start() -> None:
    """Its table has numbers of two models for each n-gram, by other codes: refused, with what to do."""
    state = {**random_state(TINY.vector_size), "vocabulary": np.array(["film"]), "ngram_table": np.zeros((3, 2, 2))}
    with pytest.raises(InvalidRecipe, match="received an older one; use init=random"):
        SPEC.prepare_with_state(make_splits(), TINY, state)  # type: ignore[misc]  # it has one


def test_a_version_that_knew_runs_of_three_is_a_start() -> None:
    """It does not say so; its n-grams are found again, by the linear model and in the graph."""
    text = TokenIds(np.tile(np.arange(2, 10, dtype=np.int32), 10), np.array([0, 80]))
    index, _ = index_hashed(text, UP_TO_THREE, min_texts=1)
    older = NgramModel(index, np.full((len(index.codes), 2), 0.1, np.float32), 0.0)
    state = {**random_state(TINY.vector_size), **older.to_state()}
    del state["ngram_orders"]
    state = SPEC.prepare_with_state(make_splits(), TINY, state).state  # type: ignore[misc]  # it has one
    expected = older.log_odds(text)
    assert expected[0] > 1
    np.testing.assert_array_equal(NgramModel.from_state(state).log_odds(text), expected)
    vote = SPEC.build(TINY.override({"ngram_share": 0.9}), state).get_layer("ngrams")
    nothing = np.zeros((1, 1), np.float32)
    np.testing.assert_allclose(vote(nothing, text.flat[None], nothing)[0], 0.9 * expected, rtol=1e-5)


@pytest.mark.parametrize("longest", [3, 4])
def test_the_recipe_says_how_long_runs_are(longest: int) -> None:
    """Beside words and pairs, the linear model has runs of that many words, and its state says so."""
    state = SPEC.prepare(make_splits(), TINY.override({"longest_run": longest})).state
    assert NgramModel.from_state(state).index.orders == (1, 2, longest)


def test_short_texts_join_the_reviews() -> None:
    """Statements, contrasts, pieces and written ones, in the numbers that the recipe says, none of them certain."""
    plain = SPEC.prepare(make_splits(), TINY)
    recipe = TINY.override({"statements": 0.5, "contrasts": 1.0, "pieces": 0.1, "written": 1})
    prepared = SPEC.prepare(make_splits(), recipe)
    targets = np.concatenate([prepared.train[index][1] for index in range(len(prepared.train))])
    alone = np.concatenate([plain.train[index][1] for index in range(len(plain.train))])
    soft = (targets > 0) & (targets < 1)
    assert len(alone) == len(targets) - np.count_nonzero(soft) == 200
    assert np.count_nonzero(soft) > 100 + 800
    np.testing.assert_array_equal(prepared.state["ngram_table"], plain.state["ngram_table"])


def test_soft_labels_extend_the_training_part() -> None:
    """Unlabelled reviews join with a target between the classes; labelled ones keep theirs."""
    prepared = SPEC.prepare(make_splits(), TINY.override({"soft_labels": 60, "batch_size": 10}))
    targets = np.concatenate([prepared.train[index][1] for index in range(len(prepared.train))])
    assert len(targets) == 260
    assert np.count_nonzero((targets > 0) & (targets < 1)) == 60


def test_soft_labels_may_count_less() -> None:
    """Soft-labelled reviews have the recipe's weight; labelled ones and short texts count whole."""
    recipe = TINY.override({"soft_labels": 60, "soft_weight": 0.25, "batch_size": 10, "statements": 0.2, "epochs": 1})
    prepared = SPEC.prepare(make_splits(), recipe)
    batches = [prepared.train[index] for index in range(len(prepared.train))]
    targets, weights = (np.concatenate([batch[part].ravel() for batch in batches]) for part in (1, 2))
    certain = np.isin(targets, np.float32([0, 1, CERTAINTY, 1 - CERTAINTY]))
    assert np.count_nonzero(certain) == 200 + 40
    assert (weights[certain] == 1).all()
    assert (weights[~certain] == 0.25).all()
    assert len(weights) == 300


def test_small_datasets_are_passed_over_until_min_steps() -> None:
    """13 batches, twice per epoch for two epochs, make the 40 required steps."""
    recipe = TINY.override({"min_steps": 40, "epochs": 2, "batch_size": 16})
    assert len(SPEC.prepare(make_splits(), recipe).train) * 2 == 52


@pytest.mark.parametrize("name", ["quick", "full", "gpu"])
def test_recipes_are_valid_and_buildable(name: str) -> None:
    """Every shipped recipe builds a model with one probability per review."""
    recipe = SPEC.recipes[name]
    model = SPEC.build(recipe, random_state(recipe.vector_size))
    assert model.output_shape == (None, 1)


def test_linear_baseline_is_measured_on_the_test_part() -> None:
    """The simple method solves the invented reviews."""
    assert measure_baseline(make_splits()).value > 0.9


def test_a_piece_without_a_word_is_no_example() -> None:
    """A row of dots is cut from a review as a sentence is."""
    splits = make_splits()
    dotted = np.array(["- - - . Well done. - - - ."] * len(splits.train), object)
    splits = replace(splits, train=replace(splits.train, x=dotted))
    prepared = SPEC.prepare(splits, TINY.override({"pieces": 5.0}))
    rows = [prepared.train[index][0] for index in range(len(prepared.train))]
    assert sum(map(len, rows)) > len(dotted)
    assert all((ids != PADDING).any(axis=1).all() for ids in rows)
