"""A weight for each word of a text: what the score of its passage loses without it.

Words are left out of the raw text, so any model of texts will do. A long text is not run once for each word: a passage
of ``PASSAGE`` words is enough to see "not bad at all", and long enough for models that read sentences in another way
than whole texts. A text of 400 words costs about as much as 72 runs of it. Passages without which the whole text has
the same score weigh nothing: the model did not read them.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from modelyard.pipeline.exporting.explaining.removal import run_in_chunks

PASSAGE = 64
MAX_UNITS = 512
"""Longer texts are weighed by units of several words."""
UNITS_AT_ONCE, TEXTS_AT_ONCE = 32, 8
UNCHANGED = 1e-5
"""Scores that are so near differ by rounding alone."""
_SPACE = r"\s\p{Z}"
_ALONE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no space between words: each character is weighed."""
_PIECE = rf"(?:[{_ALONE}]\p{{M}}*|[^{_SPACE}{_ALONE}]+)[{_SPACE}]*"
_END = "\x1f"
"""What ends a piece while it is cut (unit separator)."""

Score = Callable[[Any], Any]
"""``string [M]`` -> ``float32 [M]``."""


def split_pieces(texts: Any) -> tuple[Any, Any]:
    """``string [N]`` -> pieces ``string [N,W]`` and their numbers ``int32 [N]``.

    A piece is a word and the space behind it; all pieces of a text together are the text.
    """
    marked = tf.strings.regex_replace(tf.strings.regex_replace(texts, _END, " "), _PIECE, rf"\0{_END}")
    # Each word ends in a mark, so the last part is what stands behind the last one: nothing, or space without any word.
    parts = tf.strings.split(marked, _END)[:, :-1]
    return parts.to_tensor(""), tf.cast(parts.row_lengths(), tf.int32)


def describe_pieces(pieces: Any) -> dict[str, Any]:
    """``words``, and where each stands: ``starts`` and ``ends`` in characters, all ``[N,W]``."""
    before = tf.strings.regex_replace(pieces, f"^[{_SPACE}]+", "")
    words = tf.strings.regex_replace(before, f"[{_SPACE}]+$", "")
    whole, left, bare = (tf.strings.length(part, unit="UTF8_CHAR") for part in (pieces, before, words))
    starts = tf.cumsum(whole, axis=1, exclusive=True) + whole - left
    starts = tf.where(tf.equal(pieces, ""), 0, starts)
    return {"words": words, "starts": starts, "ends": starts + bare}


def weigh_words(score: Score, base: Any, pieces: Any, count: Any) -> Any:
    """``float32 [W]``, 0 behind the last word.

    Args:
        base: the text's score, ``[]``.
        pieces: ``string [W]``, of which ``count`` are the text.
    """
    per_unit = (count + MAX_UNITS - 1) // MAX_UNITS
    safe = tf.maximum(per_unit, 1)
    units = join_pieces(pieces[:count], safe)
    weights = weigh_in_passages(score, units) * find_read(score, base, units)
    spread = tf.repeat(weights / tf.cast(safe, tf.float32), safe)[:count]
    return tf.pad(spread, [[0, tf.shape(pieces)[0] - count]])


def join_pieces(pieces: Any, per_unit: Any) -> Any:
    """Units ``string [U]`` of so many pieces each."""
    missing = -tf.shape(pieces)[0] % per_unit
    filled = tf.concat([pieces, tf.fill([missing], "")], axis=0)
    return tf.strings.reduce_join(tf.reshape(filled, [-1, per_unit]), axis=1)


def weigh_in_passages(score: Score, units: Any) -> Any:
    """``float32 [U]``: a passage's score less the same without the unit. The last passage is as long as the others."""
    count = tf.shape(units)[0]

    def find_places(passage: Any) -> Any:
        first = tf.maximum(tf.minimum(passage * PASSAGE, count - PASSAGE), 0)
        return first[:, None] + tf.range(PASSAGE)

    def join(places: Any, is_in: Any) -> Any:
        return tf.strings.reduce_join(tf.where(is_in, tf.gather(units, tf.minimum(places, count - 1)), ""), axis=1)

    def run_whole(passage: Any) -> Any:
        places = find_places(passage)
        return score(join(places, places < count))

    def run_without(number: Any) -> Any:
        places = find_places(number // PASSAGE)
        return score(join(places, (places < count) & tf.not_equal(places, number[:, None])))

    whole = run_in_chunks(run_whole, (count + PASSAGE - 1) // PASSAGE, TEXTS_AT_ONCE)
    return tf.gather(whole, tf.range(count) // PASSAGE) - run_in_chunks(run_without, count, UNITS_AT_ONCE)


def find_read(score: Score, base: Any, units: Any) -> Any:
    """``float32 [U]``: 0 for units whose passage the whole text may lose without another score; else 1."""
    count = tf.shape(units)[0]
    passage = tf.range(count) // PASSAGE

    def run(number: Any) -> Any:
        left = tf.where(tf.equal(passage, number[:, None]), "", units)
        return score(tf.strings.reduce_join(left, axis=1))

    # A text of one passage is read: what two of its words say may cancel out.
    passages = tf.where(count > PASSAGE, (count + PASSAGE - 1) // PASSAGE, 0)
    is_read = tf.abs(base - run_in_chunks(run, passages, TEXTS_AT_ONCE)) > UNCHANGED
    is_read = tf.concat([is_read, tf.ones([tf.cast(tf.equal(passages, 0), tf.int32)], tf.bool)], axis=0)
    return tf.cast(tf.gather(is_read, tf.where(tf.equal(passages, 0), 0, passage)), tf.float32)
