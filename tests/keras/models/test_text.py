"""The offline tokeniser and the one inside the exported graph are the same function."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.models.datasets.imdb import IMDB
from modelyard.models.text.vocabulary import (
    TokenIds,
    encode,
    learn_vocabulary,
    make_vectoriser,
    pad,
    tokenise,
    truncate,
)

STATE = {
    "vocabulary": np.array(["the", "film", "not", "good", "!", "?", "10", "ø", "映画"], dtype="<U32"),
    "max_tokens": np.array(12, np.int32),
}
AWKWARD = [
    "",
    "   ",
    "<br /><BR/>film<br   />good",
    "don't DIDN\u2019T n'tn't can't've",
    "good!!!?? 10/10",
    "\x00film\x00\x07good\x7f\x1b[0m",
    "caf\u00e9 \u00c9 \u00e9 \u6620\u753b \U0001f600\u200d\U0001f525 \u1680film\u2028good\u00a0the",
    "\u0130\u0131\u017f\u212a \ud7ff\ue000\uffff",
    "I don&#39;t &amp;#39; &quot;like&quot; na&iuml;ve caf&#233;s &lt;br /&gt; &bogus; &#x1F600; R&D; &",
    '<p class="x">good</p> a < b > c 1<2 <3 <33 <film',
    "\U0001f600\U0001f44e\u2764\ufe0f\U0001f4a9 :) ;-) =( :'( :-((",
    "e\u0301 n\u0303 so\u00adft zero\u200bwidth \ufefffilm",
    "dont CANT can't cannot wont won\u2018t aint didnt\u00e9 \u00e9isnt couldnt've n`t",
    "film " * 20_000,
    "x" * 100_000,
]

in_graph = tf.function(make_vectoriser(STATE), input_signature=[tf.TensorSpec([None], tf.string)])


def offline(texts: list[str], state: dict[str, np.ndarray] = STATE) -> np.ndarray:
    ids = truncate(encode(texts, state["vocabulary"]), int(state["max_tokens"]))
    return pad([ids.row(index) for index in range(len(ids))])


def test_graph_and_python_agree_on_awkward_texts() -> None:
    """Empty and blank texts, tags, quotes, control characters, other scripts, 100,000 characters: equal ids."""
    np.testing.assert_array_equal(in_graph(AWKWARD), offline(AWKWARD))
    for one in AWKWARD:
        np.testing.assert_array_equal(in_graph([one]), offline([one]))


words = st.sampled_from(
    [
        *STATE["vocabulary"].tolist(),
        *("don't", "n\u2019t", "<br />", "THE", "\u00c9", "'", "\t", "\x00", " ", "&amp;", "&#39;", "&", "#39;", "lt;"),
        *("<", ">", ":)", "(", "\U0001f44d", "\u0301", "cant", "isnt", "can not", "nt"),
    ]
)
any_text = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(words, max_size=40).map(" ".join))


@settings(max_examples=3 * settings.default.max_examples)
@given(st.lists(st.one_of(any_text, st.lists(words, max_size=40).map("".join)), min_size=1, max_size=4))
def test_graph_and_python_agree_on_any_text(texts: list[str]) -> None:
    """Ids and their padding are equal for every batch of Unicode texts."""
    np.testing.assert_array_equal(in_graph(texts), offline(texts))


def test_graph_and_python_agree_on_reviews() -> None:
    """With a vocabulary learned from the sample, its held-out reviews get equal ids."""
    assert IMDB.sample is not None
    splits = IMDB.sample()
    vocabulary, _ = learn_vocabulary(list(splits.train.x), 1_000, 2)
    state = {"vocabulary": vocabulary, "max_tokens": np.array(30, np.int32)}
    texts = list(splits.validation.x)
    np.testing.assert_array_equal(make_vectoriser(state)(texts), offline(texts, state))


def test_vectoriser_survives_export(tmp_path: Path) -> None:
    """A saved model that tracks the vectoriser gives the same ids when it is loaded again."""
    vectorise = make_vectoriser(STATE)
    archive = keras.export.ExportArchive()
    archive.track(vectorise)
    archive.add_endpoint("ids", vectorise, input_signature=[tf.TensorSpec([None], tf.string)])
    archive.write_out(str(tmp_path / "1"), verbose=False)
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path / "1")).ids(tf.constant(AWKWARD)), offline(AWKWARD))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Don't!", ["do", "not", "!"]),
        ("isn\u2019t it?", ["is", "not", "it", "?"]),
        ("One.<br /><br />Two", ["one", "two"]),
        ('7/10, it\'s "fine"', ["7", "10", "it", "s", "fine"]),
        ("A clich\u00e9, CLICH\u00c9, cliche\u0301", ["a", "cliche", "cliche", "cliche"]),
        ("I can&#39;t, can&amp;#39;t, can\u2018t, cant, cannot", ["i", *["can", "not"] * 5]),
        ("Won't, wont, didnt, isn`t", ["will", "not", "will", "not", "did", "not", "is", "not"]),
        ("&quot;Fun&quot; &amp; games&nbsp;na&iuml;ve", ["fun", "games", "naive"]),
        ("&lt;br /&gt;<a href='#'>so</a> <i>so</i>", ["so", "so"]),
        ("\u201cFine\u201d \U0001f44d \U0001f44e <3 :-) :(", ["fine", "good", "awful", "love", "good", "bad"]),
        ("SO\u00adLID\u200b!", ["solid", "!"]),
    ],
)
def test_words_are_separated(written: str, expected: list[str]) -> None:
    """Negations, tags, ratings, quotes and accents come apart as the examples show."""
    assert tokenise(written) == expected


def test_vocabulary_holds_the_most_frequent_words_of_enough_texts() -> None:
    """Most frequent first, ties alphabetical, words of a single text left out, ids matching ``encode``."""
    texts = ["good good film", "bad film", "bad bad good good good plot", "once once once once"]
    vocabulary, ids = learn_vocabulary(texts, 10, 2)
    assert vocabulary.tolist() == ["good", "bad", "film"]
    again = encode(texts, vocabulary)
    np.testing.assert_array_equal(ids.flat, again.flat)
    np.testing.assert_array_equal(ids.starts, again.starts)


def test_vocabulary_keeps_to_its_size() -> None:
    """``size`` counts padding and unknown."""
    vocabulary, ids = learn_vocabulary(["a b c", "a b c", "a b"], 4, 1)
    assert vocabulary.tolist() == ["a", "b"]
    assert ids.flat.max() < 4


def test_vocabulary_has_what_is_asked_for_behind_the_rest() -> None:
    """However rare, and in no text at all; what is frequent anyway stands once, and ids match ``encode``."""
    texts = ["a b c", "a b c", "a b d leaks", "leaks d"]
    vocabulary, ids = learn_vocabulary(texts, 4, 1, ["overheats", "leaks", "b"])
    assert vocabulary.tolist() == ["a", "b", "leaks", "overheats"]
    np.testing.assert_array_equal(ids.flat, encode(texts, vocabulary).flat)


def test_long_texts_keep_head_and_tail() -> None:
    """Of ten ids six remain: the first two and the last four; shorter texts stay whole."""
    ids = TokenIds(np.arange(14, dtype=np.int32), np.array([0, 10, 14]))
    kept = truncate(ids, 6)
    assert kept.row(0).tolist() == [0, 1, 6, 7, 8, 9]
    assert kept.row(1).tolist() == [10, 11, 12, 13]


def test_no_texts_at_all() -> None:
    """Zero texts give zero rows, offline and in the graph."""
    assert len(encode([], STATE["vocabulary"])) == 0
    assert in_graph(tf.constant([], tf.string)).shape[0] == 0
