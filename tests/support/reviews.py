"""Invented reviews, and preprocessing of the reviews' model that no review was read for."""

import numpy as np

from modelyard.models.data import Split, Splits
from modelyard.models.spec import State
from modelyard.models.text.hashed_ngrams import index_hashed
from modelyard.models.text.ngrams import NgramModel
from modelyard.models.text.vocabulary import TokenIds

GOOD = ["superb", "moving", "funny", "brilliant", "fine"]
BAD = ["awful", "boring", "dull", "terrible", "weak"]
FILLER = ["the", "film", "plot", "acting", "was", "and", "a", "very", "story", "with"]
WORDS = 50
"""Ids in ``random_state``."""


def random_state(vector_size: int = 8) -> State:
    generator = np.random.default_rng(0)
    texts = TokenIds(generator.integers(2, WORDS, 600).astype(np.int32), np.arange(0, 601, 6))
    index, _ = index_hashed(texts, (1, 2, 4), min_texts=1)
    table = generator.uniform(0.1, 1, (len(index.codes), 2)).astype(np.float32)
    return {
        "vocabulary": np.array([f"word{number}" for number in range(WORDS - 2)]),
        "vectors": generator.normal(size=(WORDS, vector_size)).astype(np.float16),
        "learned": np.arange(0, WORDS, 2, dtype=np.int32),
        **NgramModel(index, table, -0.3).to_state(),
    }


def make_split(count: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 2
    texts = []
    for label in labels:
        words = generator.choice(FILLER, generator.integers(3, 40)).tolist()
        words.insert(int(generator.integers(len(words))), str(generator.choice(GOOD if label else BAD)))
        texts.append(" ".join(words))
    return Split(np.array(texts, dtype=object), labels)


def make_splits() -> Splits:
    return Splits(make_split(200, 0), make_split(40, 1), make_split(100, 2), unlabelled=make_split(60, 3).x)
