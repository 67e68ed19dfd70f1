"""English text to word ids: one definition, run offline in Python and inside the exported graph with equal results.

What is rewritten before stands in ``cleaning``; what is no letter or digit then separates words.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.models.inputs import State
from modelyard.models.text.cleaning import LETTERS, clean, clean_in_graph
from modelyard.models.types import Array

PADDING, UNKNOWN, FIRST_WORD = 0, 1, 2
"""Ids: 0 fills up a row, 1 stands for every word outside the vocabulary, words start at 2, most frequent first."""
PAD_MULTIPLE = 8
"""Rows are filled up to a multiple of this many ids."""
MAX_WORD_CHARS = 32
"""Longer words are never taken into a vocabulary."""

_TOKENS = re.compile(f"[{LETTERS}]+|[!?]")


@dataclass(frozen=True)
class TokenIds:
    """Texts as ids, end to end: text ``i`` is ``flat[starts[i] : starts[i + 1]]``."""

    flat: Array
    """``int32 [sum of lengths]``"""
    starts: Array
    """``int64 [N + 1]``"""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, part: slice) -> "TokenIds":
        """Consecutive texts."""
        first, last, _ = part.indices(len(self))
        starts = self.starts[first : max(first, last) + 1]
        return TokenIds(self.flat[starts[0] : starts[-1]], starts - starts[0])

    def row(self, index: int) -> Array:
        """``int32 [length]``: the ids of one text."""
        return self.flat[self.starts[index] : self.starts[index + 1]]

    @property
    def lengths(self) -> Array:
        return np.diff(self.starts)

    @property
    def rows(self) -> Array:
        """``int64 [sum of lengths]``: the text that each id belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def select(self, keep: Array) -> "TokenIds":
        """Only the ids where ``keep`` (``bool [sum of lengths]``) is true."""
        kept_before = np.concatenate([[0], np.cumsum(keep)])
        return TokenIds(self.flat[keep], kept_before[self.starts])

    def select_texts(self, keep: Array) -> "TokenIds":
        """Only the texts where ``keep`` (``bool [N]``) is true."""
        lengths = self.lengths
        return TokenIds(self.flat[np.repeat(keep, lengths)], np.concatenate([[0], np.cumsum(lengths[keep])]))


# --- offline ------------------------------------------------------------------------------------------------------


def tokenise(text: str) -> list[str]:
    """The words of ``text``, in order: runs of letters and digits, and each ``!`` and ``?``."""
    return _TOKENS.findall(clean(text))


def index_words(texts: Iterable[str]) -> tuple[list[str], TokenIds]:
    """Every distinct word, and the texts as indices into that list; in order of first occurrence."""
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    ids = _concatenate([np.fromiter(map(index.__getitem__, tokenise(text)), np.int32) for text in texts])
    return list(index), ids


def learn_vocabulary(
    texts: Sequence[str], size: int, min_texts: int, always: Sequence[str] = ()
) -> tuple[Array, TokenIds]:
    """The vocabulary of ``texts`` and their ids by it, in one pass.

    Args:
        size: ids in use at most, padding and unknown included.
        min_texts: a word must occur in this many texts.
        always: words that have an id beside those, however rare they are.

    Returns:
        ``(vocabulary, ids)``: ``str [V]``, most frequent first, ties in alphabetical order.
    """
    return rank_words(*index_words(texts), size, min_texts, always)


def rank_words(
    words: Sequence[str], indices: TokenIds, size: int, min_texts: int, always: Sequence[str] = ()
) -> tuple[Array, TokenIds]:
    """The same of texts that are indices into ``words`` already."""
    names = np.array(words, dtype=object)
    counts = np.bincount(indices.flat, minlength=len(words))
    text_counts = _count_texts(indices, len(words))
    short = np.fromiter(map(len, words), np.int64, len(words)) <= MAX_WORD_CHARS
    eligible = np.flatnonzero((text_counts >= min_texts) & short)
    ranked = eligible[np.lexsort((names[eligible].astype(str), -counts[eligible]))][: size - FIRST_WORD]
    place_of = {word: place for place, word in enumerate(words)} if always else {}
    asked = np.array(sorted(place_of[word] for word in {*always} & place_of.keys()), np.int64)
    rarer = np.setdiff1d(asked, ranked)
    ranked = np.concatenate([ranked, rarer[np.lexsort((names[rarer].astype(str), -counts[rarer]))]])
    unseen = np.array(sorted({*always} - place_of.keys()), dtype=object)
    id_of = np.full(len(words), UNKNOWN, np.int32)
    id_of[ranked] = np.arange(FIRST_WORD, FIRST_WORD + len(ranked), dtype=np.int32)
    vocabulary = np.concatenate([names[ranked], unseen]).astype(f"<U{MAX_WORD_CHARS}")
    return vocabulary, TokenIds(id_of[indices.flat], indices.starts)


def _count_texts(indices: TokenIds, size: int) -> Array:
    """In how many texts each index below ``size`` occurs, ``int [size]``."""
    pairs = np.sort(indices.rows * size + indices.flat)  # np.unique takes ten times as long
    first = np.concatenate([np.ones(min(1, len(pairs)), bool), pairs[1:] != pairs[:-1]])
    return np.bincount(pairs[first] % max(1, size), minlength=size)


def encode(texts: Iterable[str], vocabulary: Array) -> TokenIds:
    """Ids of ``texts``, nothing truncated."""
    id_of = {str(word): FIRST_WORD + rank for rank, word in enumerate(vocabulary)}
    return _concatenate(
        [np.fromiter((id_of.get(word, UNKNOWN) for word in tokenise(text)), np.int32) for text in texts]
    )


def join(first: TokenIds, second: TokenIds) -> TokenIds:
    """The texts of both."""
    return TokenIds(
        np.concatenate([first.flat, second.flat]), np.concatenate([first.starts, first.starts[-1] + second.starts[1:]])
    )


def truncate(ids: TokenIds, max_tokens: int) -> TokenIds:
    """Long texts keep the first third and the last two thirds of ``max_tokens``: reviews conclude at their end."""
    head, tail = head_and_tail(max_tokens)
    lengths = ids.lengths
    positions = np.arange(len(ids.flat)) - np.repeat(ids.starts[:-1], lengths)
    return ids.select((positions < head) | (positions >= np.repeat(lengths - tail, lengths)))


def pad(rows: Sequence[Array]) -> Array:
    """``int32 [N,L]``, padded at the end; ``L`` is the smallest multiple of ``PAD_MULTIPLE`` that holds every row."""
    max_length = max((len(row) for row in rows), default=0)
    padded = np.zeros((len(rows), padded_length(max_length)), np.int32)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded


# --- in the graph -------------------------------------------------------------------------------------------------


def make_vectoriser(state: State) -> Callable[[Any], Any]:
    """The same inside a TensorFlow graph: ``string [N]`` (UTF-8) -> ``int32 [N,L]``, ``L`` as by ``pad``.

    Args:
        state: ``vocabulary`` (``str [V]``) and ``max_tokens`` (``int []``).

    Returns:
        A ``tf.Module`` that owns the lookup table: an exporter has to track it (``archive.track(vectorise)``).
    """
    import tensorflow as tf

    words, max_tokens = [str(word) for word in state["vocabulary"]], int(state["max_tokens"])

    class Vectoriser(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
        def __init__(self) -> None:
            super().__init__(name="vectoriser")
            ids = tf.range(FIRST_WORD, FIRST_WORD + len(words), dtype=tf.int32)
            keys = tf.constant(words, tf.string, shape=[len(words)])
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), UNKNOWN)

        def __call__(self, texts: Any) -> Any:
            texts = clean_in_graph(texts)
            texts = tf.strings.regex_replace(texts, "[!?]", r" \0 ")
            # Spaces part words as they are: to replace each by itself takes longer than all else.
            texts = tf.strings.regex_replace(texts, f"[^{LETTERS}!? ]+", " ")
            return look_up_words(texts, self.table, max_tokens)

    return Vectoriser()


def look_up_words(texts: Any, table: Any, max_tokens: int) -> Any:
    """Words with white space between them, ``string [N]`` -> ``int32 [N,L]``: as ``truncate`` and ``pad`` have them.

    Ragged tensors would be a hundred operations more.
    """
    import tensorflow as tf

    words = tf.raw_ops.StringSplitV2(input=texts, sep="")
    rows, count, longest = words.indices[:, 0], words.shape[0], words.shape[1]
    lengths = tf.math.unsorted_segment_sum(tf.ones_like(rows), rows, count)
    skipped = tf.maximum(lengths - max_tokens, 0)[:, None]
    starts = tf.cumsum(lengths, exclusive=True)[:, None]
    places = tf.range(padded_length(tf.minimum(longest, max_tokens), tf.maximum))
    sources = starts + tf.where(places < max_tokens // 3, places, places + skipped)
    sources = tf.where(places < lengths[:, None] - skipped, sources, tf.size(words.values, tf.int64))
    return tf.gather(tf.concat([table.lookup(words.values), [PADDING]], axis=0), sources)


def head_and_tail(max_tokens: int) -> tuple[int, int]:
    return max_tokens // 3, max_tokens - max_tokens // 3


def padded_length(max_length: Any, maximum: Callable[[Any, int], Any] = max) -> Any:
    return (maximum(max_length, 1) + PAD_MULTIPLE - 1) // PAD_MULTIPLE * PAD_MULTIPLE


def _concatenate(rows: Sequence[Array]) -> TokenIds:
    lengths = np.array([len(row) for row in rows], np.int64)
    flat = np.concatenate([np.zeros(0, np.int32), *rows])
    return TokenIds(flat, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
