"""Fitting a model: by Keras, or by a loop of its own."""
