"""Word vectors, and the linear model on words and runs of words: in numpy and as a layer of the graph."""

import numpy as np
import pytest

from modelyard.models.text import ngrams
from modelyard.models.text.hashed_ngrams import FACTORS, OFFSETS, UP_TO_THREE, find_starts, index_hashed
from modelyard.models.text.ngram_vote import NgramVote
from modelyard.models.text.statements import rate_words
from modelyard.models.text.vocabulary import FIRST_WORD, TokenIds, encode, learn_vocabulary, pad
from modelyard.models.text.word_vectors import learn_word_vectors, measure_polarity, spread_polarity, tell_polarity
from modelyard.models.types import Array
from tests.support.reviews import make_split


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


def test_polarity_spreads_to_words_that_nobody_named() -> None:
    """From polar words to others with similar vectors, whatever was said of each by itself; few words say nothing."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 8)).astype(np.float32)
    praise = np.flatnonzero(vectors[:, 0] > 0.5)
    blame = np.flatnonzero(vectors[:, 0] < -0.5)
    wrong, praise = praise[-1], praise[:-1]
    spread = spread_polarity(vectors, praise[:30], np.append(blame[:30], wrong))
    assert spread[wrong] > 0
    assert (spread[praise[30:]] > 0).mean() > 0.9
    assert (spread[blame[30:]] < 0).mean() > 0.9
    assert not spread_polarity(vectors, praise[:5], blame[:30]).any()


def test_polarity_is_what_labels_people_and_like_words_say() -> None:
    """Three numbers a word; people's ratings as they are halved, nothing of padding and unknown."""
    ids = TokenIds(np.array([2, 4, 3, 4, 1], np.int32), np.array([0, 2, 5]))
    vocabulary = np.array(["good", "terrible", "not"])
    polarity = tell_polarity(np.eye(5, dtype=np.float32), ids, np.array([1, 0]), vocabulary)
    np.testing.assert_array_equal(polarity[:, 0], measure_polarity(ids, np.array([1, 0]), 5))
    np.testing.assert_array_equal(polarity[:, 1], np.append([0, 0], rate_words(vocabulary) / 2))
    assert not polarity[:2].any()


def test_ngrams_stay_within_a_text_and_known_words() -> None:
    """Of two texts, one with an unknown word inside, words and runs of them are those a reader would list."""
    ids = TokenIds(np.array([2, 3, 2, 3, 1, 4, 2, 3, 4], np.int32), np.array([0, 6, 9]))
    first, second = [(2,), (3,), (4,), (2, 3), (3, 2)], [(2,), (3,), (4,), (2, 3), (3, 4)]
    for orders, longest in (((1, 2, 3), ([(2, 3, 2), (3, 2, 3)], [(2, 3, 4)])), ((1, 2, 4), ([(2, 3, 2, 3)], []))):
        index, features = index_hashed(ids, orders, min_texts=1)
        for row, short, long in zip(features, (first, second), longest, strict=True):
            assert sorted(index.codes[row.indices]) == sorted(code_of(*run) for run in [*short, *long])
        assert (index.features(ids) != features).nnz == 0
        assert (np.diff(index.codes) > 0).all()


def code_of(*run: int) -> int:
    """The code by Python's whole numbers, which never overflow."""
    total = int(OFFSETS[len(run)]) + sum(word * int(factor) for word, factor in zip(run, FACTORS, strict=False))
    return (total + 2**31) % 2**32 - 2**31


def test_held_out_log_odds_point_the_right_way() -> None:
    """Texts that a linear model did not see get log-odds that agree with their words."""
    train, other = make_split(200, 0), make_split(100, 9)
    vocabulary, ids = learn_vocabulary(list(train.x), 200, 2)
    model, held_out = ngrams.fit_ngrams(ids, train.y, orders=UP_TO_THREE, folds=4, seed=0)
    assert np.mean((held_out > 0) == train.y) > 0.9
    assert np.mean((model.log_odds(encode(other.x, vocabulary)) > 0) == other.y) > 0.9


def fitted_vote(share: float, orders: tuple[int, ...] = UP_TO_THREE) -> tuple[ngrams.NgramModel, NgramVote, Array]:
    train = make_split(200, 0)
    vocabulary, ids = learn_vocabulary(list(train.x), 200, 2)
    model, _ = ngrams.fit_ngrams(ids, train.y, orders=orders, folds=2, seed=0)
    layer = NgramVote(len(model.index.codes), share, orders)
    layer(np.zeros((1, 1), np.float32), np.zeros((1, 8), np.int32), np.zeros((1, 1), np.float32))
    layer.set_weights([model.index.codes, find_starts(model.index.codes), model.table, np.array(model.bias)])
    return model, layer, vocabulary


@pytest.mark.parametrize("orders", [UP_TO_THREE, (1, 2, 4)])
def test_graph_gives_the_linear_models_log_odds(orders: tuple[int, ...]) -> None:
    """On long texts the layer answers as the fitted model does, repetitions and unknown words included."""
    model, layer, vocabulary = fitted_vote(1.0, orders)
    long = [" ".join(make_split(30, seed).x) for seed in range(20)]
    texts = encode([*long, "superb superb film " * 40, "nobody knows these awful " * 80], vocabulary)
    padded = pad([texts.row(index) for index in range(len(texts))])
    nothing = np.zeros((len(texts), 1), np.float32)
    answers = np.asarray(layer(nothing, padded, nothing))[:, 0]
    np.testing.assert_allclose(answers, model.log_odds(texts), rtol=1e-5, atol=1e-5)


def test_the_longer_a_text_the_more_the_linear_model_counts() -> None:
    """Half its share in a sentence, none where a word turns it, more in some lines, and all of it in a review."""
    model, layer, vocabulary = fitted_vote(share=0.6)
    texts = encode(["superb " * count for count in (8, 36, 64, 200)], vocabulary)
    given = np.full((len(texts), 1), 0.25, np.float32)
    rows = pad([texts.row(index) for index in range(len(texts))])
    for turned, part in ((0.0, [0.5, 0.75, 1.0, 1.0]), (1.0, [0.0, 0.5, 1.0, 1.0])):
        answers = np.asarray(layer(given, rows, np.full_like(given, turned)))[:, 0]
        shares = 0.6 * np.array(part)
        np.testing.assert_allclose(answers, (1 - shares) * 0.25 + shares * model.log_odds(texts), rtol=1e-5)


def test_linear_model_is_silent_while_the_lstm_learns() -> None:
    """In training the layer passes on what it is given."""
    _, layer, vocabulary = fitted_vote(share=0.5)
    given = np.array([[0.25]], np.float32)
    ids = pad([encode(["superb " * 100], vocabulary).row(0)])
    plain = np.zeros((1, 1), np.float32)
    np.testing.assert_array_equal(layer(given, ids, plain, training=True), given)
    assert abs(np.asarray(layer(given, ids, plain)).item() - 0.25) > 0.1
