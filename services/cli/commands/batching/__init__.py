"""``modelyard plan-batches``: batch sizes of one model, and the flags of model servers."""
