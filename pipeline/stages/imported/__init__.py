"""Import of a model that was trained elsewhere: what it is, what it answers, how good it is."""
