"""Writes a model as a SavedModel. TensorFlow code, for processes without a GPU."""
