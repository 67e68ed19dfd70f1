"""Texts of any language to word ids, by one TensorFlow function: for learning, and inside the exported graph.

Words are runs of letters, marks and digits of any script, in lower case. Scripts that put no space between words give
each character as a word; so are ``!``, ``?`` and emoji.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modelyard.models.inputs import State
from modelyard.models.text.vocabulary import (
    FIRST_WORD,
    UNKNOWN,
    TokenIds,
    look_up_words,
    rank_words,
)
from modelyard.models.types import Array

CHUNK = 512
"""Texts that are split at once."""
_SEPARATORS = r"[^\p{L}\p{M}\p{N}\p{So}!?\x{FF01}\x{FF1F} ]+"
_ALONE = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*|\p{So}|[!?\x{FF01}\x{FF1F}]"


def split_words(texts: Any) -> Any:
    """``string [N]`` (UTF-8) -> ragged ``string [N,(L)]``."""
    return tf.strings.split(separate_words(texts))


def separate_words(texts: Any) -> Any:
    """``string [N]`` (UTF-8) -> ``string [N]``, lower case, with white space between words and nothing else."""
    texts = tf.strings.lower(texts, encoding="utf-8")
    texts = tf.strings.regex_replace(texts, _SEPARATORS, " ")
    return tf.strings.regex_replace(texts, _ALONE, r" \0 ")


def learn_words(texts: Sequence[str], size: int, min_texts: int) -> tuple[Array, TokenIds]:
    """The vocabulary of ``texts`` (``str [V]``, most frequent first) and their ids by it.

    Args:
        size: ids in use at most, padding and unknown included.
        min_texts: a word must occur in this many texts.
    """
    index: defaultdict[bytes, int] = defaultdict()
    index.default_factory = index.__len__
    found = _number_words(texts, index.__getitem__)
    return rank_words([word.decode() for word in index], found, size, min_texts)


def encode_words(texts: Sequence[str], vocabulary: Array) -> TokenIds:
    """Ids of ``texts``, nothing truncated."""
    ids = {str(word).encode(): FIRST_WORD + rank for rank, word in enumerate(vocabulary)}
    return _number_words(texts, lambda word: ids.get(word, UNKNOWN))


def _number_words(texts: Sequence[str], number: Callable[[bytes], int]) -> TokenIds:
    parts, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
    for words in _split_in_chunks(texts):
        flat = words.flat_values.numpy()
        parts.append(np.fromiter(map(number, flat), np.int32, len(flat)))
        lengths.append(words.row_lengths().numpy())
    return TokenIds(np.concatenate(parts), np.cumsum(np.concatenate(lengths)))


def _split_in_chunks(texts: Sequence[str]) -> Iterator[Any]:
    with tf.device("CPU"):
        for start in range(0, len(texts), CHUNK):
            yield split_words(tf.constant(list(texts[start : start + CHUNK]), tf.string))


class WordEncoder(tf.Module):  # type: ignore[misc]  # TensorFlow has no type information
    """``string [N]`` -> ``int32 [N,L]``, padded to a multiple of ``PAD_MULTIPLE``.

    It owns the lookup table, so that an exporter has to track it. The state has ``vocabulary`` (``str [V]``) and
    ``max_tokens`` (``int []``): longer texts keep their first third and their last two thirds.
    """

    def __init__(self, state: State) -> None:
        super().__init__(name="words")
        words = [str(word) for word in state["vocabulary"]]
        keys = tf.constant(words, tf.string, shape=[len(words)])
        ids = tf.range(FIRST_WORD, FIRST_WORD + len(words), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), UNKNOWN)
        self._max_tokens = int(state["max_tokens"])

    def __call__(self, texts: Any) -> Any:
        return look_up_words(separate_words(texts), self.table, self._max_tokens)
