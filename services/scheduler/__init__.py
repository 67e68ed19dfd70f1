"""Decides without being asked: canaries, triggers, the steps of searches. Slim: no Keras, no TensorFlow."""
