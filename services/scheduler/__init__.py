"""Decides without being asked: judges canaries. Slim: no Keras, no TensorFlow."""
