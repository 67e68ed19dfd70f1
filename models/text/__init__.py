"""English text to word ids, and what is learned from words alone."""
