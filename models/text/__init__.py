"""English text to word ids, word vectors and n-gram models."""
