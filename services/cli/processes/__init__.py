"""The local processes that `modelyard up` and `modelyard serve` start."""
