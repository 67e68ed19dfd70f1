"""Words and their runs as columns: each n-gram is a 32-bit code, computed alike by numpy and inside a graph.

A code is a sum of word ids, each times an odd number of its place, modulo 2^32. What has the same code is one n-gram by
definition: of a million n-grams, about a hundred pairs share one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from modelyard.models.text.vocabulary import FIRST_WORD, TokenIds
from modelyard.models.types import Array

UP_TO_THREE = (1, 2, 3)
"""Orders of n-grams, which are their numbers of words: words, pairs and runs of three."""
FACTORS = tuple(np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x7FEB352D], np.uint32).view(np.int32))
"""What a word's id is multiplied by, by its place."""
OFFSETS = dict(enumerate(np.array([0x27D4EB2F, 0x4FA9D65E, 0x777EC18D, 0x165667B1], np.uint32).view(np.int32), start=1))
"""What is added, by the order."""
NO_NGRAM = np.int32(-(2**31))
"""A code that no index has."""
CODE_BITS = 32
MOST_IN_BUCKET = 8
"""Codes with the same first bits, as many bits as ``count_bucket_bits`` says, of which there are columns."""
_CODE_BITS = np.uint64(CODE_BITS)
_CODE_MASK = np.uint64(0xFFFF_FFFF)


@dataclass(frozen=True)
class HashedIndex:
    """The n-grams that have a column."""

    codes: Array
    """``int32 [F]``, ascending."""
    orders: tuple[int, ...] = UP_TO_THREE

    def features(self, ids: TokenIds) -> scipy.sparse.csr_matrix:
        """``float32 [N, F]``: 1 where a text has the n-gram. Unknown words are in none."""
        return self.select(_text_codes(ids, self.orders), len(ids))

    def select(self, text_codes: Array, count: int) -> scipy.sparse.csr_matrix:
        """The same of what ``_text_codes`` found in ``count`` texts."""
        codes = _codes_of(text_codes)
        columns = np.minimum(np.searchsorted(self.codes, codes), max(0, len(self.codes) - 1)).astype(np.int32)
        known = self.codes[columns] == codes if len(self.codes) else np.zeros(len(codes), bool)
        rows = (text_codes[known] >> _CODE_BITS).astype(np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=count))])
        shape = (count, max(1, len(self.codes)))
        return scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), columns[known], starts), shape)


def count_bucket_bits(codes: int) -> int:
    """Bits of a bucket's number, so that there are about as many buckets as codes."""
    return min(20, max(1, (codes - 1).bit_length()))


def find_starts(codes: Array) -> Array:
    """``int32 [2^bits]``: where the codes of each bucket begin in ``codes``, which ascend."""
    bits = count_bucket_bits(len(codes))
    firsts = (np.arange(2**bits, dtype=np.int64) - 2 ** (bits - 1)) << (CODE_BITS - bits)
    starts: Array = np.searchsorted(codes, firsts.astype(np.int32)).astype(np.int32)
    return starts


def index_hashed(
    ids: TokenIds, orders: tuple[int, ...] = UP_TO_THREE, min_texts: int = 2
) -> tuple[HashedIndex, scipy.sparse.csr_matrix]:
    """The n-grams that at least ``min_texts`` of the texts have, and the features of these texts."""
    text_codes = _text_codes(ids, orders)
    codes = np.sort(_codes_of(text_codes))
    first = np.flatnonzero(_differs_from_the_one_before(codes))
    texts = np.diff(np.append(first, len(codes)))
    kept = codes[first][(texts >= min_texts) & (codes[first] != NO_NGRAM)]
    index = HashedIndex(_thin_out(kept), orders)
    return index, index.select(text_codes, len(ids))


def _thin_out(codes: Array) -> Array:
    """Without what would be too many codes of one bucket, if more codes make more buckets."""
    bits = count_bucket_bits(len(codes))
    buckets = codes >> np.int32(CODE_BITS - bits)
    begins = np.maximum.accumulate(np.where(_differs_from_the_one_before(buckets), np.arange(len(codes)), 0))
    kept = codes[np.arange(len(codes)) - begins < MOST_IN_BUCKET]
    return kept if count_bucket_bits(len(kept)) == bits else _thin_out(kept)


def _text_codes(ids: TokenIds, orders: Sequence[int]) -> Array:
    """Text and code of every n-gram as one ``uint64``, ascending, each once."""
    flat, rows, known = ids.flat.astype(np.uint32), ids.rows.astype(np.uint64), ids.flat >= FIRST_WORD
    found = [_order_codes(flat, rows, known, order) for order in orders]
    together = np.sort(np.concatenate(found))
    return together[_differs_from_the_one_before(together)]


def _order_codes(flat: Array, rows: Array, known: Array, order: int) -> Array:
    count = max(0, len(flat) - order + 1)
    codes = np.full(count, OFFSETS[order].view(np.uint32))
    whole = rows[:count] == rows[order - 1 :] if count else np.zeros(0, bool)
    for place in range(order):
        codes += flat[place : place + count] * FACTORS[place].view(np.uint32)
        whole &= known[place : place + count]
    found: Array = (rows[:count][whole] << _CODE_BITS) | codes[whole]
    return found


def _codes_of(text_codes: Array) -> Array:
    return (text_codes & _CODE_MASK).astype(np.uint32).view(np.int32)


def _differs_from_the_one_before(ascending: Array) -> Array:
    return np.concatenate([np.ones(min(1, len(ascending)), bool), ascending[1:] != ascending[:-1]])
