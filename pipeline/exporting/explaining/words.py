"""A weight for each word of a text: what the score of its passage loses without it.

Words are left out of the raw text, so any model of texts will do. A long text is not run once for each word: a passage
of ``PASSAGE`` words is enough to see "not bad at all", and long enough for models that read sentences in another way
than whole texts. A text of 400 words costs about as much as 72 runs of it; the longest one as ``MAX_UNITS`` passages
and 8 runs of the whole. Stretches without which the whole text has the same score weigh nothing: the model did not read
them.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

PASSAGE = 64
"""Words, or units of several words, together about as many."""
MAX_UNITS = 512
"""Longer texts are weighed by units of several words."""
STRETCH = 64
"""Units of the whole text that are left out at once, to see whether the model reads them."""
PASSAGES_AT_ONCE, TEXTS_AT_ONCE = 32, 8
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

    A piece is a word and the space behind it; all pieces of a text together are the text. Space alone has none.
    """
    marked = tf.strings.regex_replace(tf.strings.regex_replace(texts, _END, " "), _PIECE, rf"\0{_END}")
    marked = tf.strings.regex_replace(marked, f"^[{_SPACE}]+$", "")
    # Each word ends in a mark, so the last part is empty. Ragged tensors would be a hundred operations more.
    parts = tf.raw_ops.StringSplitV2(input=marked, sep=_END)
    table = tf.raw_ops.SparseToDense(
        sparse_indices=parts.indices, output_shape=parts.shape, sparse_values=parts.values, default_value=""
    )
    pieces = table[:, :-1]
    return pieces, tf.math.count_nonzero(tf.strings.length(pieces), axis=1, dtype=tf.int32)


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
    per_unit = tf.maximum((count + MAX_UNITS - 1) // MAX_UNITS, 1)
    units = (count + per_unit - 1) // per_unit
    begins = tf.concat([[0], tf.cumsum(tf.strings.length(pieces))], axis=0)
    bounds = tf.gather(begins, tf.minimum(tf.range(units + 1) * per_unit, count))
    weights = weigh_units(score, base, tf.strings.reduce_join(pieces), bounds, units, per_unit)
    word = tf.range(tf.shape(pieces)[0])
    shared = tf.concat([weights / tf.cast(per_unit, tf.float32), [0.0]], axis=0)
    return tf.gather(shared, tf.where(word < count, word // per_unit, units))


def weigh_units(score: Score, base: Any, text: Any, bounds: Any, units: Any, per_unit: Any) -> Any:
    """``float32 [U]``: the score of a unit's passage less the same without it; 0 if the whole text is not read there.

    Args:
        bounds: ``int32 [U+1]``, where units begin and the last one ends, in bytes.
    """
    size = tf.maximum(PASSAGE // per_unit, 1)
    unit = tf.range(units)
    of_unit = unit // size
    passage = tf.range((units + size - 1) // size)
    stretch = tf.range(tf.where(units > STRETCH, (units + STRETCH - 1) // STRETCH, 0)) * STRETCH
    # The last passage is as long as the others.
    first = tf.maximum(tf.minimum(passage * size, units - size), 0)
    last = tf.minimum(first + size, units)
    # Three kinds of variants: passages, passages without a unit, and the text without a stretch.
    edges = [
        tf.concat([first, tf.gather(first, of_unit), tf.zeros_like(stretch)], axis=0),
        tf.concat([last, unit, stretch], axis=0),
        tf.concat([last, unit + 1, tf.minimum(stretch + STRETCH, units)], axis=0),
        tf.concat([last, tf.gather(last, of_unit), tf.fill(tf.shape(stretch), units)], axis=0),
    ]
    sizes = [tf.size(passage), units, tf.size(stretch)]
    scores = run_variants(score, text, tf.gather(bounds, tf.stack(edges)), sizes[0] + sizes[1])
    whole, without, left = tf.split(scores, tf.stack(sizes))
    # A text of one passage is read: what two of its words say may cancel out.
    is_read = tf.concat([tf.abs(base - left) > UNCHANGED, [True]], axis=0)
    is_read = tf.gather(is_read, tf.minimum(unit // STRETCH, sizes[2]))
    return tf.where(is_read, tf.gather(whole, of_unit) - without, 0.0)


def run_variants(score: Score, text: Any, edges: Any, passages: Any) -> Any:
    """Scores ``[V]`` of texts that have a part left out, a bounded number at a time.

    Args:
        edges: ``int32 [4,V]``, in bytes: a variant goes from the first to the second, and from the third to the fourth.
        passages: so many variants are short, those after them as long as the text may be.
    """
    count = tf.shape(edges)[1]
    starts = [tf.range(0, passages, PASSAGES_AT_ONCE), tf.range(passages, count, TEXTS_AT_ONCE)]
    ends = [tf.minimum(starts[0] + PASSAGES_AT_ONCE, passages), tf.minimum(starts[1] + TEXTS_AT_ONCE, count)]

    def run(bounds: Any) -> Any:
        begin, end = bounds
        first, cut, resume, last = tf.unstack(edges[:, begin:end])
        found = score(tf.strings.substr(text, first, cut - first) + tf.strings.substr(text, resume, last - resume))
        return tf.pad(found, [[0, PASSAGES_AT_ONCE - (end - begin)]])

    chunks = (tf.concat(starts, axis=0), tf.concat(ends, axis=0))
    spec = tf.TensorSpec((PASSAGES_AT_ONCE,), tf.float32)
    found = tf.map_fn(run, chunks, fn_output_signature=spec, parallel_iterations=1)
    is_run = tf.range(PASSAGES_AT_ONCE) < (chunks[1] - chunks[0])[:, None]
    return tf.gather_nd(found, tf.where(is_run))
