"""Texts: a weight for each word as it stood, whatever the model makes of the text."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from modelyard import ModelSpec, TextInput
from modelyard.pipeline.exporting.explaining.words import split_pieces, weigh_words
from tests.support.explained import NOWHERE, encode_by, explain, export, linear, texts


def count_words(text: Any) -> Any:
    """How often "good", "bad", and "not bad" occur in the first 150 words."""
    words = tf.strings.split(tf.strings.regex_replace(tf.strings.lower(text), "[^a-z好]+", " "))[:, :150]
    text = tf.strings.reduce_join(words, axis=1, separator=" ")

    def count(word: str) -> Any:
        whole = tf.strings.length(text)
        return tf.cast(whole - tf.strings.length(tf.strings.regex_replace(text, word, "")), tf.float32) / len(word)

    return tf.stack([count("good") + count("好") / 3, count("bad"), count("not bad")], axis=1)


SPEC = ModelSpec(
    name="m",
    dataset=NOWHERE,
    task="binary",
    input=TextInput(),
    labels=("negative", "positive"),
    encode=encode_by(count_words),
)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model = linear([2, -3, 5], activation="sigmoid")
    return export(SPEC, model, {"text": texts("good", "bad", "a", "b")}, tmp_path_factory.mktemp("words") / "1")


def weigh(loaded: Any, *given: str) -> list[dict[str, float]]:
    found = explain(loaded, texts(*given))
    return [
        {word.decode(): round(float(weight), 3) for word, weight in zip(row, weights, strict=True) if word}
        for row, weights in zip(found["words"], found["weights"], strict=True)
    ]


def test_words_weigh_what_the_answered_class_loses_without_them(loaded: Any) -> None:
    """For the class that is answered, whichever it is; negation is seen in the passage."""
    assert weigh(loaded, "A good film.", "a bad one", "not bad at all") == [
        {"A": 0, "good": 2, "film.": 0},
        {"a": 0, "bad": 3, "one": 0},
        {"not": 5, "bad": 2, "at": 0, "all": 0},
    ]


def test_words_stand_where_they_stood_in_the_text(loaded: Any) -> None:
    """White space, accents, scripts without spaces: characters from ``starts`` to ``ends`` are the word."""
    given = ["  Très  good,\n\tvery. ", "这部电影很好 good", "one", "a\x1fb\u00a0good"]
    found = explain(loaded, texts(*given))
    for text, words, starts, ends in zip(given, found["words"], found["starts"], found["ends"], strict=True):
        spans = [(word.decode(), text[a:b]) for word, a, b in zip(words, starts, ends, strict=True) if word]
        assert [word for word, _ in spans] == [span for _, span in spans]
    assert [word.decode() for word in found["words"][1][:7]] == [*"这部电影很好", "good"]


def test_a_long_text_is_weighed_word_by_word(loaded: Any) -> None:
    """A word in 120; what stands behind the 150 words that the model reads weighs nothing."""
    filler = ["word"] * 400
    filler[60], filler[300] = "good", "good"
    (weights,) = [explain(loaded, texts(" ".join(filler)))["weights"][0]]
    assert weights.argmax() == 60
    assert weights[60] == pytest.approx(2, abs=1e-3)
    assert weights[300] == 0
    assert np.abs(np.delete(weights, 60)).max() < 1e-3


def test_thousands_of_words_are_weighed_in_groups(loaded: Any) -> None:
    """So that the longest text costs no more than one of 512 words."""
    words = ["w"] * 3_000
    words[7] = "good"
    weights = explain(loaded, texts(" ".join(words)))["weights"][0]
    assert weights.shape == (3_000,)
    assert 7 in np.argsort(-weights)[:6]
    assert weights.sum() == pytest.approx(2, abs=1e-2)


def test_the_longest_text_costs_little_more_than_a_long_one() -> None:
    """Passages are about 64 words long, however many words one unit has; few variants are as long as the text."""
    lengths: list[int] = []

    def score(text: Any) -> Any:
        lengths.extend(len(each.split()) for each in text.numpy())
        return tf.cast(tf.strings.length(text), tf.float32)

    costs = {}
    for count in (1, 64, 65, 400, 512, 513, 3_000, 10_000):
        lengths.clear()
        pieces, counts = split_pieces(texts(" ".join(["word"] * count)))
        found = weigh_words(score, tf.constant(-1.0), pieces[0], counts[0])
        assert np.all(found.numpy() > 0)
        short = [length for length in lengths if length <= 64]
        costs[count] = len(lengths) - len(short), sum(short)
    assert costs[400] == (7, 400 * 63 + 7 * 64)
    assert costs[512] == (8, 512 * 63 + 8 * 64)
    assert all(whole <= 8 and words <= 1.2 * costs[512][1] for whole, words in costs.values())


def test_a_weight_of_nought_has_no_sign(loaded: Any) -> None:
    """Whatever it came of: printed, it would read as one."""
    found = explain(loaded, texts("bad " + "word " * 200 + "good"))
    noughts = found["weights"][found["weights"] == 0]
    assert len(noughts) > 100
    assert not np.signbit(noughts).any()


def test_another_text_beside_it_changes_no_weight(loaded: Any) -> None:
    """To the last bit: each is explained by itself, and the shorter one is filled up."""
    alone = explain(loaded, texts("a good film"))
    beside = explain(loaded, texts("a good film", "not bad, " * 60))
    np.testing.assert_array_equal(beside["weights"][0, :3], alone["weights"][0])
    assert not beside["weights"][0, 3:].any()


@pytest.mark.parametrize("size", [2, 7, 32, 64])
def test_many_texts_are_explained_as_each_is_alone(size: int, loaded: Any) -> None:
    """To the last bit."""
    given = ["a good film", "not bad at all", "bad " * 40, "fine", "good, but not bad"]
    together = explain(loaded, texts(*(given[place % 5] for place in range(size))))
    for place, text in enumerate(given[:size]):
        weights = explain(loaded, texts(text))["weights"][0]
        np.testing.assert_array_equal(together["weights"][place, : len(weights)], weights)


def test_a_text_without_words_has_none(loaded: Any) -> None:
    """Empty, or white space alone."""
    found = explain(loaded, texts("", " \n"))
    assert found["words"].shape == found["weights"].shape == (2, 0)
