"""Which requests share a call of a model, and when it is made."""
