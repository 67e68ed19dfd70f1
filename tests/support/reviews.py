"""Preprocessing of the reviews' model that no review was read for."""

import numpy as np

from modelyard.models.spec import State

WORDS = 50
"""Ids in ``random_state``."""


def random_state(vector_size: int = 8) -> State:
    generator = np.random.default_rng(0)
    codes = np.unique(np.concatenate([np.arange(2, WORDS), generator.integers(2 * WORDS, WORDS * WORDS, 400)]))
    return {
        "vectors": generator.normal(size=(WORDS, vector_size)).astype(np.float16),
        "ngram_codes": codes.astype(np.int32),
        "ngram_table": generator.uniform(0.1, 1, (len(codes), 2, 2)).astype(np.float32),
        "ngram_bias": np.array(-0.3, np.float32),
    }
